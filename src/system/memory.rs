//! Memory for a program that is linked with musl.
//!
//! musl's malloc maps blocks of a few pages each for itself, and unmaps them when they are freed. A decoder of .xz files takes
//! some for each file, so that depmod over a kernel's modules had a hundred thousand page faults more than with glibc, a sixth
//! of its time. Here is dlmalloc instead, from which glibc's malloc comes: it starts with one mapping and keeps what is freed.
//! The Makefile renames `malloc`, `calloc` and `free` of the C decoders to those below.

use dlmalloc::GlobalDlmalloc;
use nix::libc::c_void;
use std::alloc::{GlobalAlloc, Layout};
use std::ptr::null_mut;

#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;

/// What stands before each block of C's, which frees without saying how large it is. As large as the alignment that C expects.
#[repr(C, align(16))]
struct Head {
    /// Of the whole block.
    layout: Layout,
}

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(size_of::<Head>())?, align_of::<Head>()).ok()
}

/// A block for C behind the head, given how to get one.
fn block(size: usize, allocate: unsafe fn(&GlobalDlmalloc, Layout) -> *mut u8) -> *mut c_void {
    let Some(layout) = layout(size) else { return null_mut() };
    // SAFETY: the size is not zero.
    let head = unsafe { allocate(&ALLOCATOR, layout) }.cast::<Head>();
    if head.is_null() {
        return null_mut();
    }
    // SAFETY: the block is large enough for the head and aligned for it.
    unsafe {
        head.write(Head { layout });
        head.add(1).cast()
    }
}

/// malloc(3).
#[unsafe(no_mangle)]
extern "C" fn kmod_once_malloc(size: usize) -> *mut c_void {
    block(size, GlobalDlmalloc::alloc)
}

/// calloc(3).
#[unsafe(no_mangle)]
extern "C" fn kmod_once_calloc(number: usize, size: usize) -> *mut c_void {
    number.checked_mul(size).map_or(null_mut(), |size| block(size, GlobalDlmalloc::alloc_zeroed))
}

/// free(3).
///
/// # Safety
/// The block is one of [`kmod_once_malloc`] or [`kmod_once_calloc`], or null, and is not used any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn kmod_once_free(block: *mut c_void) {
    if !block.is_null() {
        // SAFETY: as the caller promises, a head stands before it, which has the layout of the whole.
        unsafe {
            let head = block.cast::<Head>().sub(1);
            let layout = (*head).layout;
            ALLOCATOR.dealloc(head.cast(), layout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_gets_its_blocks_and_gives_them_back() {
        let blocks: Vec<_> = [0, 1, 15, 4096, 28_000, 1 << 20]
            .into_iter()
            .flat_map(|size| [(size, kmod_once_malloc(size)), (size, kmod_once_calloc(size, 1))])
            .collect();
        for &(size, block) in &blocks {
            assert!(!block.is_null() && block.addr() % 16 == 0);
            // SAFETY: the block has that many bytes.
            unsafe { block.cast::<u8>().write_bytes(0xee, size) };
        }
        for (_, block) in blocks {
            // SAFETY: each is given back once.
            unsafe { kmod_once_free(block) };
        }
        let zeroed = kmod_once_calloc(7, 4000);
        // SAFETY: the block has that many bytes, which calloc has written; it is given back once. free takes null.
        unsafe {
            assert!(std::slice::from_raw_parts(zeroed.cast::<u8>(), 28_000).iter().all(|&byte| byte == 0));
            kmod_once_free(zeroed);
            kmod_once_free(null_mut());
        }
    }

    #[test]
    fn what_there_is_no_memory_for_is_null() {
        assert!(kmod_once_malloc(usize::MAX).is_null());
        assert!(kmod_once_malloc(usize::MAX / 2).is_null());
        assert!(kmod_once_calloc(usize::MAX / 2, 3).is_null());
    }
}
