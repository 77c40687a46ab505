//! A module file's contents, decompressed, for those who look inside.

use crate::error::{Errno, Error, Result};
use crate::formats::compress::{self, Compression};
use crate::limits;
use crate::system::map::{self, Contents};
use std::path::Path;

/// The image of a module: mapped where the file holds it as it is, else inflated.
pub enum Image {
    /// The file itself.
    Plain(Contents),
    /// What was inflated from it.
    Inflated(Vec<u8>),
}

impl Image {
    /// Reads the module at `path`.
    ///
    /// # Errors
    /// What open or read said; `EINVAL` for a file that is too short to be anything, or whose compressed data is broken.
    /// With the path.
    pub fn read(path: &Path) -> Result<Image> {
        let contents = contents(path)?;
        match compress::detect(&contents) {
            Compression::None => Ok(Image::Plain(contents)),
            kind => Ok(Image::Inflated(
                compress::decompress(kind, &contents, limits::INFLATED).map_err(|error| error.at(path))?,
            )),
        }
    }
}

/// The contents of the module file at `path` as they are.
///
/// # Errors
/// What open or read said; `EINVAL` for a file that is too short to be anything. With the path.
pub fn contents(path: &Path) -> Result<Contents> {
    let contents = map::open(path, limits::INFLATED)?;
    if contents.len() < compress::HEAD {
        let text = format!("{} bytes long, too short for a module", contents.len());
        return Err(Error::new(Errno::EINVAL, text).at(path));
    }
    Ok(contents)
}

impl std::ops::Deref for Image {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Image::Plain(contents) => contents,
            Image::Inflated(bytes) => bytes,
        }
    }
}
