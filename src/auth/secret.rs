//! The secret of a server that is alone with its log: made at the first start, and kept beside the log.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use data_encoding::HEXLOWER;

use crate::config::values::Secret;
use crate::health::disk::sync_directory;

/// Its name in the data directory.
pub(crate) const NAME: &str = "secret.key";

/// Its length, in hexadecimal digits.
const LENGTH: usize = 64;

/// Reads the secret of a data directory; makes it if it is not there.
pub(crate) fn of_dir(dir: &Path) -> io::Result<Secret> {
    let path = dir.join(NAME);
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() == LENGTH => Ok(Secret::new(text.trim())),
        Ok(_) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is no secret of this server", path.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(dir, &path),
        Err(error) => Err(error),
    }
}

fn make(dir: &Path, path: &Path) -> io::Result<Secret> {
    let secret = HEXLOWER.encode(&rand::random::<[u8; LENGTH / 2]>());
    // First under another name: what has the right one is whole.
    let unfinished = dir.join(format!("{NAME}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(secret.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_directory(dir)?;
    Ok(Secret::new(secret))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_for_its_owner_alone_and_a_damaged_one_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let first = of_dir(dir.path()).unwrap();
        assert_eq!(of_dir(dir.path()).unwrap(), first);
        let path = dir.path().join(NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        assert_eq!(of_dir(dir.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
