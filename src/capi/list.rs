//! Circular, doubly linked lists; each node is an allocation of its own that never moves. The first node stands for the
//! list; the empty list is NULL.

use super::abi::{Handle, exports, hand_over};
use crate::error::Errno;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::rc::Rc;

/// A node, with a reference to its element.
#[repr(C)]
pub(crate) struct Node {
    next: *mut Node,
    prev: *mut Node,
    data: *mut c_void,
}

/// A pointer of C's to a node of a list with elements of type `T`, or NULL.
#[repr(transparent)]
pub(crate) struct List<T>(*mut Node, PhantomData<T>);

impl<T> List<T> {
    /// The list of these elements. A caught panic of the iterator leaks it.
    pub(crate) fn of(elements: impl IntoIterator<Item = Rc<T>>) -> *mut Node {
        let mut first: *mut Node = null_mut();
        for element in elements {
            let data = hand_over(element).cast();
            let node = Box::into_raw(Box::new(Node { next: null_mut(), prev: null_mut(), data }));
            // SAFETY: `node` is new, and no one else has a pointer to a node of this list yet.
            unsafe {
                if first.is_null() {
                    ((*node).prev, first) = (node, node);
                }
                let last = (*first).prev;
                ((*node).next, (*node).prev) = (first, last);
                (*last).next = node;
                (*first).prev = node;
            }
        }
        first
    }

    fn node(&self) -> Result<&Node, Errno> {
        // SAFETY: see the head of `abi`.
        unsafe { self.0.as_ref() }.ok_or(Errno::ENOENT)
    }

    /// The element of this node; `ENOENT` for NULL.
    pub(crate) fn element(&self) -> Result<Handle<T>, Errno> {
        Ok(Handle(self.node()?.data.cast()))
    }

    /// The nodes of the list, in order. Each may be freed once it was returned.
    fn nodes(&self) -> impl Iterator<Item = *mut Node> {
        let first = self.0;
        let mut next = first;
        std::iter::from_fn(move || {
            let node = next;
            // SAFETY: C hands in a whole list, and the nodes that were not returned yet are alive.
            next = unsafe { node.as_ref() }?.next;
            if next == first {
                next = null_mut();
            }
            Some(node)
        })
    }

    /// The elements of the list, in order.
    pub(crate) fn elements(&self) -> impl Iterator<Item = Handle<T>> {
        // SAFETY: the nodes of C's list are alive.
        self.nodes().map(|node| Handle(unsafe { (*node).data.cast() }))
    }

    /// Frees the nodes of a list that C gives back, with the reference that each has to its element.
    pub(crate) fn free(self) {
        for node in self.nodes() {
            // SAFETY: every node came from a Box, and each is visited once.
            let node = unsafe { Box::from_raw(node) };
            let _ = Handle::<T>(node.data.cast()).release();
        }
    }
}

exports! {
    /// The node after `current`; NULL after the last.
    fn kmod_list_next(list: List<c_void>, current: List<c_void>) -> *mut Node {
        list.node()?;
        let next = current.node()?.next;
        Ok(if next == list.0 { null_mut() } else { next })
    }

    /// The node before `current`; NULL before the first.
    fn kmod_list_prev(list: List<c_void>, current: List<c_void>) -> *mut Node {
        list.node()?;
        let prev = current.node()?.prev;
        Ok(if current.0 == list.0 { null_mut() } else { prev })
    }

    /// The last node of a list.
    fn kmod_list_last(list: List<c_void>) -> *mut Node {
        Ok(list.node()?.prev)
    }
}
