//! How much memory a call takes at its most: an allocator that counts, for each thread by itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that are taken now (which may be less than nothing: what another thread took is given back here), and the
    /// most that were since the last question.
    static TAKEN: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, counting.
pub struct Counting;

fn count(change: isize) {
    // A thread that is ending has no counter any more.
    let _ = TAKEN.try_with(|taken| {
        let (now, most) = taken.get();
        let now = now + change;
        taken.set((now, most.max(now)));
    });
}

// SAFETY: every call goes to the system's allocator as it is; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of the trait, which is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as in alloc.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as in alloc.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While it is moved both are there.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: as in alloc.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What `work` returns, and how many bytes it held at its most beyond those that were held before.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let (before, outer) = TAKEN.with(Cell::get);
    TAKEN.with(|taken| taken.set((before, before)));
    let result = work();
    let (now, most) = TAKEN.with(Cell::get);
    // Whoever asked for more than this call gets the most of both.
    TAKEN.with(|taken| taken.set((now, most.max(outer))));
    (result, usize::try_from(most - before).unwrap_or(0))
}
