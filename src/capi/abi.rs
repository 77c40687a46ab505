//! The types of C's arguments, and how results go back to C.
//!
//! C makes the values of these types; only `list` makes handles, too, of the elements of a list. The C interface (`libkmod.h`)
//! requires that each pointer is NULL, an object of its type that this library returned and that has not been released, or a C
//! string; and that a list has elements of the type that the function takes (`c_void`: of any type).

use crate::error::Errno;
use crate::system::directory;
use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::rc::Rc;

/// The errno of a panic, which must not unwind into C.
const BUG: Errno = Errno::ENOTRECOVERABLE;

/// A pointer to an object of this library, or NULL. The object is in an [`Rc`], and C has references.
#[repr(transparent)]
pub(crate) struct Handle<T>(pub(super) *mut T);

impl<T> Handle<T> {
    /// The object; `ENOENT` for NULL, which most functions return for it.
    pub(crate) fn get(&self) -> Result<&T, Errno> {
        // SAFETY: see the head of this file. Objects are changed through cells only.
        unsafe { self.0.as_ref() }.ok_or(Errno::ENOENT)
    }

    /// A new reference to the object; errors as [`Handle::get`].
    pub(crate) fn share(&self) -> Result<Rc<T>, Errno> {
        self.get()?;
        // SAFETY: see the head of this file. C keeps its own reference.
        Ok(Rc::clone(&ManuallyDrop::new(unsafe { Rc::from_raw(self.0) })))
    }

    /// Takes back a reference: of C's, or of a list that is freed. Returns NULL if it was the last one, else the pointer; errors
    /// as [`Handle::get`].
    pub(crate) fn release(self) -> Result<*mut T, Errno> {
        self.get()?;
        // SAFETY: see the head of this file. C does not use this reference any more.
        let object = unsafe { Rc::from_raw(self.0) };
        Ok(if Rc::strong_count(&object) == 1 { null_mut() } else { self.0 })
    }
}

/// The pointer for C that holds this reference.
pub(crate) fn hand_over<T>(object: Rc<T>) -> *mut T {
    Rc::into_raw(object).cast_mut()
}

/// A C string, or NULL.
#[repr(transparent)]
pub(crate) struct Text(*const c_char);

impl Text {
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        // SAFETY: see the head of this file.
        (!self.0.is_null()).then(|| unsafe { CStr::from_ptr(self.0) }.to_bytes())
    }
}

/// An array of C strings that ends in NULL, or NULL.
#[repr(transparent)]
pub(crate) struct Texts(*const Text);

impl Texts {
    pub(crate) fn bytes(&self) -> Option<Vec<&[u8]>> {
        if self.0.is_null() {
            return None;
        }
        let mut found = Vec::new();
        // SAFETY: see the head of this file; nothing behind the NULL is looked at.
        while let Some(text) = unsafe { (*self.0.add(found.len())).bytes() } {
            found.push(text);
        }
        Some(found)
    }
}

/// A place for a pointer that a function returns, or NULL.
#[repr(transparent)]
pub(crate) struct Out<T>(*mut *mut T);

impl<T> Out<T> {
    /// Checks that there is a place; `ENOENT` if not.
    pub(crate) fn check(&self) -> Result<(), Errno> {
        if self.0.is_null() { Err(Errno::ENOENT) } else { Ok(()) }
    }

    /// Checks that there is a place and that it holds NULL, as functions that make lists demand; `EINVAL` if it does not.
    pub(crate) fn check_empty(&self) -> Result<(), Errno> {
        self.check()?;
        // SAFETY: see the head of this file.
        if unsafe { (*self.0).is_null() } { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Writes it, if there is a place.
    pub(crate) fn set(&self, value: *mut T) {
        if !self.0.is_null() {
            // SAFETY: see the head of this file.
            unsafe { *self.0 = value };
        }
    }
}

/// The return value of a function that C calls, if it fails.
pub(crate) trait Answer {
    /// The value for an error, as exactly as the type can express it.
    fn failed(errno: Errno) -> Self;
}

impl Answer for () {
    fn failed(_: Errno) {}
}

impl Answer for c_int {
    fn failed(errno: Errno) -> Self {
        -errno.number()
    }
}

impl<T> Answer for *mut T {
    fn failed(_: Errno) -> Self {
        null_mut()
    }
}

impl<T> Answer for *const T {
    fn failed(_: Errno) -> Self {
        null()
    }
}

/// Runs the body of a function that C calls. An error or a panic sets errno and returns `otherwise`.
pub(crate) fn answer<T>(otherwise: impl FnOnce(Errno) -> T, body: impl FnOnce() -> Result<T, Errno>) -> T {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        // Its destructor may panic again.
        std::mem::forget(payload);
        Err(BUG)
    });
    result.unwrap_or_else(|errno| {
        errno.set();
        otherwise(errno)
    })
}

/// Makes functions that C calls. The body returns a `Result` with an [`Errno`]; [`Answer::failed`], or the closure after
/// `else`, makes the return value of an error. Nothing else in src/capi is exported (tests/architecture.rs).
macro_rules! exports {
    ($(
        $(#[$attribute:meta])*
        fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $(, else($otherwise:expr))? $body:block
    )*) => {$(
        $(#[$attribute])*
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $kind),*) $(-> $result)? {
            $crate::capi::abi::answer($crate::capi::abi::exports!(@otherwise $($otherwise)?), || $body)
        }
    )*};
    (@otherwise) => { $crate::capi::abi::Answer::failed };
    (@otherwise $otherwise:expr) => { $otherwise };
}
pub(super) use exports;

unsafe extern "C" {
    /// As getenv(3), but NULL in a program that runs with more rights than its user has.
    fn secure_getenv(name: *const c_char) -> *const c_char;
}

/// An environment variable; `None` in a program that runs with more rights than its caller.
pub(crate) fn variable(name: &CStr) -> Option<Vec<u8>> {
    // SAFETY: the name is a C string; the value is copied before anything else can change the environment (that no other
    // thread does so now is the host's duty, as for getenv).
    unsafe {
        let value = secure_getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value).to_bytes().to_vec())
    }
}

/// The absolute path; a relative `path` is below the working directory.
pub(crate) fn absolute(path: &[u8]) -> Result<PathBuf, Errno> {
    directory::absolute(path, || directory::working(variable(c"PWD")))
}

/// A C string of these bytes, up to the first NUL.
pub(crate) fn c_string(bytes: &[u8]) -> CString {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}
