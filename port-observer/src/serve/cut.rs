//! Connections whose client takes nothing of what is written to it: they end so that the kernel keeps
//! nothing for it.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_io_timeout::TimeoutStream;

/// A connection that can be cut off.
pub(super) trait CutOff {
    /// What the kernel has yet to send is dropped when it is closed.
    fn cut_off(&self);
}

impl CutOff for TcpStream {
    /// Otherwise megabytes of send buffer stay in FIN_WAIT1 for as long as the client acknowledges that it
    /// has no room (`tcp_close`, net/ipv4/tcp.c): with a linger time of 0 it is a RST, and nothing stays.
    fn cut_off(&self) {
        if let Err(error) = self.set_zero_linger() {
            log::debug!("a connection can't be reset: {error}");
        }
    }
}

impl CutOff for UnixStream {
    /// What was sent is in the client's queue, and counted as its.
    fn cut_off(&self) {}
}

/// A connection that is cut off when its client takes nothing for some time.
pub(super) struct Impatient<S>(Pin<Box<TimeoutStream<S>>>);

impl<S: AsyncRead + AsyncWrite + CutOff> Impatient<S> {
    /// Waits no longer than that for a client to take something.
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(patience));
        Self(Box::pin(stream))
    }

    fn seen<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result
            && error.kind() == ErrorKind::TimedOut
        {
            self.0.get_ref().cut_off();
        }
        result
    }
}

impl<S: AsyncRead + AsyncWrite + CutOff> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + CutOff> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.0.as_mut().poll_write(context, bytes);
        self.seen(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.0.as_mut().poll_write_vectored(context, slices);
        self.seen(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.0.as_mut().poll_flush(context);
        self.seen(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = self.0.as_mut().poll_shutdown(context);
        self.seen(shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// A connection: the server's end, and the client's.
    async fn pair() -> (Impatient<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Impatient::new(server, Duration::from_millis(200)), client)
    }

    fn block_on(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn who_takes_nothing_is_reset() {
        block_on(async {
            let (mut server, mut client) = pair().await;
            let bytes = vec![7; 1 << 20];
            let error = loop {
                if let Err(error) = server.write_all(&bytes).await {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            drop(server);
            let mut taken = Vec::new();
            let error = client.read_to_end(&mut taken).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        });
    }

    #[test]
    fn who_is_slow_gets_all_of_it() {
        block_on(async {
            let (mut server, mut client) = pair().await;
            server.write_all(&[7; 10_000]).await.unwrap();
            drop(server);
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut taken = Vec::new();
            assert_eq!(client.read_to_end(&mut taken).await.unwrap(), 10_000);
        });
    }
}
