//! Two ways to read kernel memory.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

/// How a field of a kernel structure is read.
pub trait Read {
    /// Reads a `T` at `base + offset`; zero where nothing can be read.
    ///
    /// # Safety
    /// `T` is made of integers or pointers, and the field has its size.
    unsafe fn read<T: Copy>(base: *const u8, offset: u32) -> T;
}

/// Plain loads, for pointers that the verifier knows the type of (fentry, fexit, tp_btf).
pub struct Direct;

impl Read for Direct {
    #[inline(always)]
    unsafe fn read<T: Copy>(base: *const u8, offset: u32) -> T {
        // SAFETY: the verifier checks base and offset against the type; a fault reads as zero.
        unsafe { base.add(offset as usize).cast::<T>().read_volatile() }
    }
}

/// Through a helper, for any address.
pub struct Probed;

impl Read for Probed {
    #[inline(always)]
    unsafe fn read<T: Copy>(base: *const u8, offset: u32) -> T {
        let mut value = MaybeUninit::<T>::zeroed();
        // SAFETY: the helper writes size_of::<T>() bytes or zeroes; zero is a value of T.
        unsafe {
            bpf_probe_read_kernel(
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
                base.wrapping_add(offset as usize).cast(),
            );
            value.assume_init()
        }
    }
}
