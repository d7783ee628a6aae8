//! The kernel programs. Three backends of thin probes (`fexit`, `kprobe`, `tracepoint`) over one
//! set of rules (`call`, `holding`), which read kernel memory through [`read::Read`]; and iterators
//! (`scan`) over what was there before.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod call;
mod closed;
mod fexit;
mod holding;
mod inside;
mod kprobe;
mod maps;
mod process;
mod read;
mod refused;
mod repeat;
mod reset;
mod scan;
mod send;
mod share;
mod socket;
mod state;
mod system_call;
mod task;
mod tracepoint;
mod twin;
mod unseen;

/// Helpers such as reading kernel memory are for GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here panics: the verifier would refuse the loop.
    loop {}
}
