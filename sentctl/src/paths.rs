//! Where things are kept, by the XDG base directory specification.

use std::path::PathBuf;

/// The folder of compiled images; `None` if there is no home to put it in.
pub fn image_cache() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("sentientos").join("images"))
}
