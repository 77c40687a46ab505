//! Memory for a program that is linked with musl.
//!
//! musl's malloc maps a few pages for each group of blocks, and unmaps them with the last block. A decoder of .xz files takes
//! some large blocks for each file, so that depmod over a kernel's modules had a hundred thousand page faults more than with
//! glibc, a sixth of its time. Here is dlmalloc instead, from which glibc's malloc comes. It begins with memory that is part of
//! the program: that takes no system call, and a request of modprobe needs no more. What is mapped after that is kept to the
//! end, since a tool that had it for one module has it for the next.
//!
//! The Makefile renames `malloc`, `calloc` and `free` of the C decoders to those below.

use dlmalloc::{Allocator, Dlmalloc};
use nix::errno::Errno;
use nix::libc::{self, c_int, c_void};
use std::alloc::{GlobalAlloc, Layout};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// The size of the memory that is part of the program (only pages that are used cost anything), and of the smallest map.
const PIECE: usize = 1 << 20;

static mut OWN_BYTES: [u128; PIECE / size_of::<u128>()] = [0; PIECE / size_of::<u128>()];
static OWN_ARE_TAKEN: AtomicBool = AtomicBool::new(false);

/// Where the heap gets its memory.
struct Source;

/// New memory, all zeros, or null. Not by a crate, whose error value may take memory: there is none while the heap is locked.
fn map(size: usize, flags: c_int) -> *mut u8 {
    let (access, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags);
    // SAFETY: a new map, at an address that the kernel chooses, is nobody's.
    let map = unsafe { libc::mmap(null_mut(), size, access, flags, -1, 0) };
    if map == libc::MAP_FAILED { null_mut() } else { map.cast() }
}

// SAFETY: each piece is given once: the program's own bytes, which nothing else names, or a new map, which stays.
unsafe impl Allocator for Source {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if size <= PIECE && !OWN_ARE_TAKEN.swap(true, Ordering::Relaxed) {
            return ((&raw mut OWN_BYTES).cast(), PIECE, 0);
        }
        // Small blocks will fill it: its pages come with it, and not each when it is first used.
        let flags = if size <= PIECE { libc::MAP_POPULATE } else { 0 };
        let size = size.max(PIECE);
        (map(size, flags), size, 0)
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        4096
    }
}

/// dlmalloc, for one thread at a time. The lock is a futex, which takes no memory itself.
struct Heap(Mutex<Dlmalloc<Source>>);

/// Not in the library: a host has a heap of its own, to which memory goes back.
#[cfg_attr(all(target_env = "musl", not(feature = "library")), global_allocator)]
static HEAP: Heap = Heap::new();

impl Heap {
    const fn new() -> Heap {
        Heap(Mutex::new(Dlmalloc::new_with_allocator(Source)))
    }

    /// Leaves errno alone, as free(3) does: callers read it after they gave back the path of a failed system call, and the
    /// futex(2) of a lock that another thread holds may set it.
    fn lock(&self) -> MutexGuard<'_, Dlmalloc<Source>> {
        match self.0.try_lock() {
            Ok(heap) => heap,
            Err(TryLockError::Poisoned(heap)) => heap.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let errno = Errno::last_raw();
                let heap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                Errno::set_raw(errno);
                heap
            }
        }
    }
}

/// Blocks of more bytes are maps of their own, which grow without a copy: old and new together may exceed the limits.
const LARGE: usize = 4 << 20;

/// Whether a block is a map of its own. Maps are aligned to pages.
fn is_large(size: usize, align: usize) -> bool {
    size > LARGE && align <= 4096
}

// SAFETY: dlmalloc, under the lock, gives blocks of the size and alignment asked for, and nobody else's until they are freed.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size(), layout.align()) {
            return map(layout.size(), 0);
        }
        // SAFETY: dlmalloc takes any layout.
        unsafe { self.lock().malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size(), layout.align()) {
            return map(layout.size(), 0);
        }
        // SAFETY: dlmalloc takes any layout.
        unsafe { self.lock().calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_large(layout.size(), layout.align()) {
            // SAFETY: the block is a map of that length, and the caller's alone.
            unsafe { libc::munmap(block.cast(), layout.size()) };
            return;
        }
        // SAFETY: the caller has the block from here, with this layout.
        unsafe { self.lock().free(block, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match [layout.size(), size].map(|size| is_large(size, layout.align())) {
            // SAFETY: the caller has the block from here, with this layout.
            [false, false] => unsafe { self.lock().realloc(block, layout.size(), layout.align(), size) },
            [true, true] => {
                // SAFETY: the block is a map of that length, and the caller's alone.
                let map = unsafe { libc::mremap(block.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) };
                if map == libc::MAP_FAILED { null_mut() } else { map.cast() }
            }
            // SAFETY: the caller promises that the new size fits a layout. Both blocks have the bytes that are copied.
            _ => unsafe {
                let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                if !new.is_null() {
                    new.copy_from_nonoverlapping(block, size.min(layout.size()));
                    self.dealloc(block, layout);
                }
                new
            },
        }
    }
}

/// malloc(3).
#[unsafe(no_mangle)]
extern "C" fn kmod_once_malloc(size: usize) -> *mut c_void {
    // SAFETY: dlmalloc takes any size.
    unsafe { HEAP.lock().c_malloc(size) }.cast()
}

/// calloc(3).
#[unsafe(no_mangle)]
extern "C" fn kmod_once_calloc(number: usize, size: usize) -> *mut c_void {
    let Some(size) = number.checked_mul(size) else { return null_mut() };
    // SAFETY: dlmalloc takes any size; its blocks are never less aligned than C's.
    unsafe { HEAP.lock().calloc(size, 1) }.cast()
}

/// free(3).
///
/// # Safety
/// The block is one of [`kmod_once_malloc`] or [`kmod_once_calloc`], or null, and is not used any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn kmod_once_free(block: *mut c_void) {
    // SAFETY: as the caller promises; dlmalloc frees blocks of either function.
    unsafe { HEAP.lock().c_free(block.cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether all bytes of a block are `byte`.
    fn all_are(block: *mut u8, size: usize, byte: u8) -> bool {
        // SAFETY: the block has that many bytes, and they have been written.
        unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|&found| found == byte)
    }

    #[test]
    fn rust_gets_its_blocks_and_gives_them_back() {
        let heap = Heap::new();
        let mut blocks = Vec::new();
        for (byte, size) in
            [(1, 1), (2, 24), (3, 4096), (4, PIECE / 4), (5, 3 * PIECE), (8, 2 * LARGE), (6, 100), (7, PIECE)]
        {
            for align in [1, 64, 4096] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the size is not zero.
                let block = unsafe { heap.alloc(layout) };
                assert!(!block.is_null() && block.addr() % align == 0, "{layout:?}");
                // SAFETY: the block has that many bytes.
                unsafe { block.write_bytes(byte, size) };
                blocks.push((block, layout, byte));
            }
        }
        for (block, layout, byte) in &mut blocks {
            let size = layout.size();
            assert!(all_are(*block, size, *byte), "{layout:?}");
            // SAFETY: the block is the heap's, with this layout.
            *block = unsafe { heap.realloc(*block, *layout, 2 * size) };
            assert!(all_are(*block, size, *byte) && block.addr() % layout.align() == 0, "{layout:?}");
            *layout = Layout::from_size_align(2 * size, layout.align()).unwrap();
        }
        for (block, layout, _) in blocks {
            // SAFETY: each is given back once.
            unsafe { heap.dealloc(block, layout) };
        }
        // SAFETY: the size is not zero.
        let zeroed = unsafe { heap.alloc_zeroed(Layout::from_size_align(PIECE, 8).unwrap()) };
        assert!(all_are(zeroed, PIECE, 0), "it has been used before");
    }

    #[test]
    fn c_gets_its_blocks_and_gives_them_back() {
        for _ in 0..2 {
            let blocks: Vec<_> = [0, 1, 15, 4096, 28_000, PIECE]
                .into_iter()
                .flat_map(|size| [(size, kmod_once_malloc(size)), (size, kmod_once_calloc(size, 1))])
                .collect();
            for (at, &(size, block)) in blocks.iter().enumerate() {
                assert!(!block.is_null() && block.addr() % (2 * size_of::<usize>()) == 0);
                assert!(at % 2 == 0 || all_are(block.cast(), size, 0), "{size}");
                // SAFETY: the block has that many bytes.
                unsafe { block.cast::<u8>().write_bytes(0xee, size) };
            }
            for (_, block) in blocks {
                // SAFETY: each is given back once.
                unsafe { kmod_once_free(block) };
            }
        }
        // SAFETY: null is nobody's.
        unsafe { kmod_once_free(null_mut()) };
    }

    #[test]
    fn errno_stays_while_others_use_the_heap() {
        let heap = Heap::new();
        let others = AtomicBool::new(true);
        let layout = Layout::from_size_align(6000, 1).unwrap();
        // SAFETY: the size is not zero; the block is given back once.
        let use_heap = || unsafe { heap.dealloc(heap.alloc(layout), layout) };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while others.load(Ordering::Relaxed) {
                        use_heap();
                    }
                });
            }
            let changed = (0..200_000).find_map(|_| {
                Errno::set(Errno::ENAMETOOLONG);
                use_heap();
                (Errno::last() != Errno::ENAMETOOLONG).then(Errno::last)
            });
            others.store(false, Ordering::Relaxed);
            assert_eq!(changed, None);
        });
    }

    #[test]
    fn what_there_is_no_memory_for_is_null() {
        assert!(kmod_once_malloc(usize::MAX).is_null());
        assert!(kmod_once_calloc(usize::MAX / 2, 3).is_null());
        // Not all of what there are addresses for can be had; where there are 32 bits, more than half can.
        let (heap, layout) = (Heap::new(), Layout::from_size_align(usize::MAX / 4, 1).unwrap());
        // SAFETY: the size is not zero.
        let blocks = [(); 4].map(|()| unsafe { heap.alloc(layout) });
        assert!(blocks.iter().any(|block| block.is_null()));
        for block in blocks.into_iter().filter(|block| !block.is_null()) {
            // SAFETY: each is given back once.
            unsafe { heap.dealloc(block, layout) };
        }
    }

    #[test]
    fn what_was_given_back_is_given_again() {
        let heap = Heap::new();
        let layout = Layout::from_size_align(LARGE, 16).unwrap();
        let once = || {
            // SAFETY: the size is not zero, and the block is given back once.
            unsafe {
                let block = heap.alloc(layout);
                heap.dealloc(block, layout);
                block
            }
        };
        let first = once();
        assert!((0..10_000).all(|_| once() == first));
    }
}
