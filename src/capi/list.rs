//! Circular, doubly linked lists; each node is an allocation of its own that never moves. The handle is the first node; the
//! empty list is NULL.

use super::abi::{Handle, exports};
use crate::error::Errno;
use std::ptr::null_mut;

/// A node. Only the code that makes and frees a list knows the type of its elements.
#[repr(C)]
pub(crate) struct Node {
    next: *mut Node,
    prev: *mut Node,
    data: *mut std::ffi::c_void,
}

/// A list under construction. Dropping an unfinished one leaks it; only a caught panic does that.
pub(crate) struct Builder {
    first: *mut Node,
    /// How many elements it has.
    pub length: i32,
}

impl Builder {
    /// The empty list.
    pub(crate) fn new() -> Self {
        Builder { first: null_mut(), length: 0 }
    }

    /// Adds an element at the end; [`free`] passes it on.
    pub(crate) fn push<T>(&mut self, element: *mut T) {
        let node = Box::into_raw(Box::new(Node { next: null_mut(), prev: null_mut(), data: element.cast() }));
        // SAFETY: `node` is new, and no one else has a pointer to a node of this list yet.
        unsafe {
            if self.first.is_null() {
                ((*node).next, (*node).prev) = (node, node);
                self.first = node;
            } else {
                let last = (*self.first).prev;
                ((*node).next, (*node).prev) = (self.first, last);
                (*last).next = node;
                (*self.first).prev = node;
            }
        }
        self.length += 1;
    }

    /// The list of boxed elements.
    pub(crate) fn of<T>(elements: impl IntoIterator<Item = T>) -> Self {
        let mut list = Builder::new();
        elements.into_iter().for_each(|element| list.push(Box::into_raw(Box::new(element))));
        list
    }

    /// The handle.
    pub(crate) fn finish(self) -> *mut Node {
        self.first
    }
}

/// The element of a node.
///
/// # Safety
/// The list that the node belongs to has elements of type `T`.
pub(crate) unsafe fn element<T>(node: &Handle<Node>) -> Result<&T, Errno> {
    // SAFETY: an element lives as long as its node.
    node.get().map(|node| unsafe { &*node.data.cast::<T>() })
}

/// The elements of a list, in order.
///
/// # Safety
/// The list's elements are of type `T`.
pub(crate) unsafe fn elements<T>(list: &Handle<Node>) -> impl Iterator<Item = *mut T> {
    let first = list.raw();
    let mut at = first;
    std::iter::from_fn(move || {
        // SAFETY: C hands in a whole list, whose nodes live while it is walked.
        let node = unsafe { at.as_ref() }?;
        at = if node.next == first { null_mut() } else { node.next };
        Some(node.data.cast())
    })
}

/// Frees the nodes of a list and hands each element to `release`.
///
/// # Safety
/// The list's elements are of type `T`, and the list is not used any more.
pub(crate) unsafe fn free<T>(list: &Handle<Node>, mut release: impl FnMut(*mut T)) {
    let first = list.raw();
    let mut at = first;
    while !at.is_null() {
        // SAFETY: every node came from a Box, and each is visited once.
        let node = unsafe { Box::from_raw(at) };
        at = if node.next == first { null_mut() } else { node.next };
        release(node.data.cast());
    }
}

/// Frees a list of boxed elements.
///
/// # Safety
/// As [`free`], and the list was made by [`Builder::of`].
pub(crate) unsafe fn free_boxed<T>(list: &Handle<Node>) {
    // SAFETY: the caller's promise; each element came from a Box.
    unsafe { free(list, |element: *mut T| drop(Box::from_raw(element))) }
}

exports! {
    /// The node after `current`; NULL after the last.
    fn kmod_list_next(list: Handle<Node>, current: Handle<Node>) -> *mut Node {
        list.get()?;
        let next = current.get()?.next;
        Ok(if next == list.raw() { null_mut() } else { next })
    }

    /// The node before `current`; NULL before the first.
    fn kmod_list_prev(list: Handle<Node>, current: Handle<Node>) -> *mut Node {
        list.get()?;
        let prev = current.get()?.prev;
        Ok(if current.raw() == list.raw() { null_mut() } else { prev })
    }

    /// The last node of a list.
    fn kmod_list_last(list: Handle<Node>) -> *mut Node {
        Ok(list.get()?.prev)
    }
}
