//! What a whiteout takes away: what lower layers have, and nothing that the layer itself made, in whatever order they come.

use sha2::{Digest, Sha256};

use crate::rootfs::{Dir, RelPath, Removed};

use super::{Error, Extractor, failed};

impl Extractor<'_, '_> {
    /// Takes away what lower layers have at a name, but nothing that this archive made.
    pub(in crate::layer) fn remove_lower(
        &mut self,
        above: &RelPath,
        name: &[u8],
    ) -> Result<(), Error> {
        let fail = |source| failed(name, source);
        let Some(dir) = self.lower_dir(above)? else {
            return Ok(());
        };
        self.parents.clear();
        self.remove_untouched(&dir, name).map_err(fail)
    }

    /// Takes away what lower layers have in a directory, but nothing that this archive made.
    pub(in crate::layer) fn remove_lower_children(&mut self, above: &RelPath) -> Result<(), Error> {
        let fail = |source| failed(above.as_bytes(), source);
        let Some(dir) = self.lower_dir(above)? else {
            return Ok(());
        };
        self.parents.clear();
        for name in dir.names().map_err(fail)? {
            self.remove_untouched(&dir, &name).map_err(fail)?;
        }
        Ok(())
    }

    /// Opens the directory of a whiteout. Without one there is nothing to remove.
    fn lower_dir(&mut self, above: &RelPath) -> Result<Option<Dir>, Error> {
        match self.rootfs.dir(&self.destination.join(above)) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(failed(above.as_bytes(), error)),
        }
    }

    fn remove_untouched(&mut self, dir: &Dir, name: &[u8]) -> Result<(), crate::rootfs::Error> {
        let path = dir.path().child(name);
        let is_touched = self
            .touched
            .as_ref()
            .is_some_and(|touched| touched.contains(&path_hash(&path)));
        if !is_touched {
            if dir.remove_all(name, self.settings.protected)? == Removed::KeptMounts {
                self.warn(format!(
                    "{path} is, or holds, a mount point or the builder's own; left as it is"
                ));
            }
            return Ok(());
        }
        if dir
            .lstat(name)?
            .is_some_and(|stat| stat.is_dir() && !stat.is_mount_root)
        {
            // No deeper than the paths of this archive, which are bounded.
            let below = dir.open_dir(name)?;
            for name in below.names()? {
                self.remove_untouched(&below, &name)?;
            }
        }
        Ok(())
    }

    pub(super) fn touch(&mut self, canonical: &RelPath) {
        let Some(touched) = &mut self.touched else {
            return;
        };
        touched.insert(path_hash(canonical));
        let mut above = canonical.parent();
        while let Some(path) = above.filter(|path| touched.insert(path_hash(path))) {
            above = path.parent();
        }
    }
}

/// 128 bits stand for a path: a million entries cost some 40 MiB less than their names.
fn path_hash(path: &RelPath) -> u128 {
    let digest = Sha256::digest(path.as_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(first)
}
