//! The contents of a module file: lists of strings and symbols.
//!
//! The entries of the three lists of symbols have one layout: dracut passes entries of the list of needed symbols to the
//! function for exported ones, and matches the result (the letter of the binding, then the name) unanchored.

use super::abi::{Handle, Out, c_string, exports};
use super::list::{List, Node};
use super::module::Module;
use crate::error::{Errno, Error, Result};
use crate::formats::elf::{Elf, Needed, exports, needed, versions};
use crate::formats::modinfo::{build_id, builtin_info, hex, info};
use crate::formats::signature;
use crate::limits;
use crate::log::bytes;
use crate::system::map;
use crate::system::roots::as_path;
use crate::tree::image::Image;
use std::ffi::{CString, c_char, c_int};
use std::rc::Rc;

/// `KMOD_SYMBOL_*`
const WEAK: u8 = b'W';
const UNDEFINED: u8 = b'U';

/// A string of `.modinfo`.
struct Info {
    key: CString,
    value: CString,
}

/// A symbol. In a list of needed ones the text begins with the letter of the binding.
struct Symbol {
    crc: u64,
    text: CString,
}

impl Symbol {
    fn new(crc: u64, text: &[u8]) -> Self {
        Symbol { crc, text: c_string(text) }
    }
}

impl Module {
    /// Its file, decompressed.
    fn image(&self) -> Result<&[u8]> {
        if let Some(image) = self.image.get() {
            return Ok(image);
        }
        let path = self.path().ok_or(Errno::ENOENT)?;
        let image = Image::read(as_path(path.as_bytes()))?;
        Ok(self.image.get_or_init(|| image))
    }

    /// Fills a list with what `read` returns, and returns its length. Logs an error that has more to say than its errno.
    fn list<T>(&self, into: &Out<Node>, read: impl FnOnce() -> Result<Vec<T>>) -> Result<c_int, Errno> {
        into.check_empty()?;
        let found = read().map_err(|error| {
            let says_more = !error.what().is_empty() && error.path().is_some();
            if says_more { self.complain(&error) } else { error.errno() }
        })?;
        let length = c_int::try_from(found.len()).unwrap_or(c_int::MAX);
        into.set(List::of(found.into_iter().map(Rc::new)));
        Ok(length)
    }

    /// The entries of `modules.builtin.modinfo` for a built-in module.
    fn builtin_info(&self) -> Result<Vec<Info>> {
        let path = self.tree().dir().join("modules.builtin.modinfo");
        let file = map::open(&path, limits::TEXT_FILE)?;
        let entries = builtin_info(&file, self.name.as_bytes())?;
        Ok(entries.into_iter().map(|(key, value)| Info::new(key, value)).collect())
    }
}

impl Info {
    fn new(key: &[u8], value: &[u8]) -> Self {
        Info { key: c_string(key), value: c_string(value) }
    }
}

/// The strings of `.modinfo`, the build id and the signature of a module file.
fn about(image: &[u8]) -> Result<Vec<Info>> {
    let elf = Elf::parse(image)?;
    let mut found: Vec<Info> = info(&elf)?.into_iter().map(|(key, value)| Info::new(key, value)).collect();
    found.extend(build_id(&elf).map(|id| Info::new(b"build-id", &hex(id))));
    if let Some(signature) = signature::parse(image) {
        found.extend([
            Info::new(b"sig_id", signature.id),
            Info::new(b"signer", signature.signer),
            Info::new(b"sig_key", &hex(&signature.key)),
            Info::new(b"sig_hashalgo", signature.hash.as_bytes()),
            Info::new(b"signature", &hex(signature.signature)),
        ]);
    }
    Ok(found)
}

exports! {
    /// Fills a list with the module's information; returns its length.
    fn kmod_module_get_info(module: Handle<Module>, into: Out<Node>) -> c_int {
        let module = module.get()?;
        module.list(&into, || if module.is_builtin() { module.builtin_info() } else { about(module.image()?) })
    }

    /// The key of an entry.
    fn kmod_module_info_get_key(entry: List<Info>) -> *const c_char {
        Ok(entry.element()?.get()?.key.as_ptr())
    }

    /// The value of an entry.
    fn kmod_module_info_get_value(entry: List<Info>) -> *const c_char {
        Ok(entry.element()?.get()?.value.as_ptr())
    }

    /// Frees such a list.
    fn kmod_module_info_free_list(list: List<Info>) {
        list.free();
        Ok(())
    }

    /// Fills a list with the versions of the symbols that the module was built against; returns its length.
    fn kmod_module_get_versions(module: Handle<Module>, into: Out<Node>) -> c_int {
        let module = module.get()?;
        module.list(&into, || {
            let found = versions(&Elf::parse(module.image()?)?)?;
            Ok(found.iter().map(|version| Symbol::new(version.crc, version.name)).collect())
        })
    }

    /// Fills a list with the symbols that the module exports; returns its length.
    fn kmod_module_get_symbols(module: Handle<Module>, into: Out<Node>) -> c_int {
        let module = module.get()?;
        module.list(&into, || {
            let found = exports(&Elf::parse(module.image()?)?)?;
            Ok(found.iter().map(|export| Symbol::new(export.crc, export.name)).collect())
        })
    }

    /// Fills a list with the symbols that the module needs; returns its length.
    fn kmod_module_get_dependency_symbols(module: Handle<Module>, into: Out<Node>) -> c_int {
        let module = module.get()?;
        module.list(&into, || {
            let elf = Elf::parse(module.image()?)?;
            let found = needed(&elf).map_err(|error| match error.errno() {
                // A module without a symbol table has no list of needed symbols.
                Errno::ENODATA => Error::os(Errno::EINVAL),
                _ => error,
            })?;
            let binding = |weak| if weak { WEAK } else { UNDEFINED };
            let text = |need: &Needed<'_>| bytes![[binding(need.weak)], need.name];
            Ok(found.iter().map(|need| Symbol::new(need.crc, &text(need))).collect())
        })
    }
}

/// The number is that of the first byte of the text that is returned.
macro_rules! symbols {
    ($($name:ident, $crc:ident, $free:ident: $skip:literal;)*) => {exports! {$(
        /// The symbol of an entry.
        fn $name(entry: List<Symbol>) -> *const c_char {
            let symbol = entry.element()?;
            let text = symbol.get()?.text.as_bytes_with_nul();
            Ok(text[$skip.min(text.len() - 1)..].as_ptr().cast())
        }

        /// The CRC of an entry.
        fn $crc(entry: List<Symbol>) -> u64, else(|_| 0) {
            Ok(entry.element()?.get()?.crc)
        }

        /// Frees such a list.
        fn $free(list: List<Symbol>) {
            list.free();
            Ok(())
        }
    )*}};
}

symbols! {
    kmod_module_version_get_symbol, kmod_module_version_get_crc, kmod_module_versions_free_list: 0;
    kmod_module_symbol_get_symbol, kmod_module_symbol_get_crc, kmod_module_symbols_free_list: 0;
    kmod_module_dependency_symbol_get_symbol, kmod_module_dependency_symbol_get_crc,
        kmod_module_dependency_symbols_free_list: 1;
}

exports! {
    /// The binding of a needed symbol: `U`, or `W` if the module can do without it.
    fn kmod_module_dependency_symbol_get_bind(entry: List<Symbol>) -> c_int, else(|_| 0) {
        Ok(entry.element()?.get()?.text.as_bytes_with_nul()[0].into())
    }
}
