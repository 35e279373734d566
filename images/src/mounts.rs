//! Folders of the host that a program is given, and another container's files, as its permissions allow it.
//!
//! What lies in such a folder is the user's, who gives it: permissions say whether the program may have something at its
//! place, and whether it may change it. Rules about what is below that place cannot hold there, because nobody knows what
//! leads where in a folder of the host; so they are refused, and not forgotten.

use crate::program::ProgramError;
use crate::tso::permissions::{FileAccess, Permissions};
use sentient_abi::mounts::{MAX_MOUNTS, Mount, append, of_container};

/// Folders for a boot module: where the program finds each, and whether it is only to read it; and the container whose own
/// files are its root, if there is one.
///
/// # Errors
/// [`ProgramError::TooManyFolders`], [`ProgramError::Mount`], [`ProgramError::Forbidden`].
pub(crate) fn encoded(
    wanted: &[(String, bool)],
    files_of: Option<u32>,
    permissions: Option<&Permissions>,
) -> Result<Vec<u8>, ProgramError> {
    if wanted.len() > MAX_MOUNTS {
        return Err(ProgramError::TooManyFolders(wanted.len()));
    }
    let mut bytes = Vec::new();
    for (volume, (path, read_only)) in (0..).zip(wanted) {
        let refused = |why: &str| ProgramError::Mount { path: path.clone(), why: why.to_owned() };
        let place = path.trim_end_matches('/');
        let place = if place.is_empty() { "/" } else { place };
        let is_name = |name: &str| !matches!(name, "" | "." | "..");
        if !path.starts_with('/') || !place.split('/').skip(1).all(|name| place == "/" || is_name(name)) {
            return Err(refused("it is not an absolute path without `.` and `..`"));
        }
        if wanted
            .iter()
            .filter(|(other, _)| other.trim_end_matches('/') == path.trim_end_matches('/'))
            .count()
            > 1
        {
            return Err(refused("two are to be there"));
        }
        if let Some(permissions) = permissions {
            allowed(place, *read_only, permissions)?;
        }
        append(&mut bytes, &Mount { volume, read_only: *read_only, path: place.as_bytes() })
            .ok_or_else(|| refused("it is longer than a path can be, or has a zero byte in it"))?;
    }
    if let Some(container) = files_of {
        if let Some(permissions) = permissions {
            allowed("/", false, permissions)?;
        }
        append(&mut bytes, &Mount { volume: of_container(container), read_only: false, path: b"/" });
    }
    Ok(bytes)
}

fn allowed(place: &str, read_only: bool, permissions: &Permissions) -> Result<(), ProgramError> {
    let within = |path: &str, folder: &str| {
        let folder = folder.trim_end_matches('/');
        path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    if let Some(below) = permissions.files.iter().find(|rule| rule.path != place && within(&rule.path, place))
    {
        let why = format!("its permissions have a rule about {}, which would not hold there", below.path);
        return Err(ProgramError::Mount { path: place.to_owned(), why });
    }
    let above = permissions.files.iter().filter(|rule| within(place, &rule.path));
    let access = above.max_by_key(|rule| rule.path.len()).map_or(FileAccess::None, |rule| rule.access);
    let (what, needed) = match (read_only, access) {
        (_, FileAccess::Write) | (true, FileAccess::Read) => return Ok(()),
        (true, FileAccess::None) => (format!("a folder of this host at {place}"), "read"),
        (false, FileAccess::Read) => {
            (format!("changing a folder of this host at {place} (:ro gives it to be read)"), "write")
        }
        (false, FileAccess::None) => (format!("a folder of this host at {place}"), "write"),
    };
    Err(ProgramError::Forbidden { what, rule: format!("files: [{{ path: {place}, access: {needed} }}]") })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use sentient_abi::mounts::mounts;

    fn given(wanted: &[(&str, bool)], permissions: Option<&str>) -> Result<Vec<(u32, bool, String)>, String> {
        let wanted: Vec<_> =
            wanted.iter().map(|(path, read_only)| ((*path).to_owned(), *read_only)).collect();
        let permissions = permissions.map(|text| Permissions::parse(text).unwrap());
        let bytes = encoded(&wanted, None, permissions.as_ref()).map_err(|error| error.to_string())?;
        let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
        Ok(mounts(&bytes).unwrap().map(|mount| (mount.volume, mount.read_only, text(mount.path))).collect())
    }

    #[test]
    fn folders_get_numbers_in_their_order_and_paths_without_a_slash_at_their_end() {
        let found = given(&[("/data/", false), ("/", true)], None);
        assert_eq!(found, Ok(vec![(0, false, "/data".into()), (1, true, "/".into())]));
        assert_eq!(given(&[], Some("version: 1\n")), Ok(Vec::new()));
        for path in ["data", "", "/a/../b", "/a//b", "/.", "/a\0"] {
            assert!(given(&[(path, true)], None).unwrap_err().contains("it cannot have"), "{path}");
        }
        assert!(given(&[("/a", true), ("/a/", true)], None).unwrap_err().contains("two are to be there"));
        assert!(given(&[("/a", true); 9], None).unwrap_err().contains("8 at most"));
    }

    #[test]
    fn permissions_say_where_one_may_be_and_whether_it_may_be_changed() {
        let rules = |rules: &str| format!("version: 1\nfiles: [{rules}]\n");
        let given = |read_only: bool, rules: &str| given(&[("/data/in", read_only)], Some(rules));
        let write = rules("{ path: /data, access: write }");
        assert!(given(false, &write).is_ok() && given(true, &write).is_ok());
        let read = rules("{ path: /, access: write }, { path: /data, access: read }");
        assert!(given(true, &read).is_ok());
        assert!(given(false, &read).unwrap_err().contains("access: write"));
        for none in [
            rules(""),
            rules("{ path: /data/other, access: write }"),
            rules("{ path: /data/inner, access: write }"),
        ] {
            assert!(given(true, &none).unwrap_err().contains("path: /data/in, access: read"), "{none}");
        }
        let below = rules("{ path: /data, access: write }, { path: /data/in/private, access: none }");
        assert!(given(false, &below).unwrap_err().contains("a rule about /data/in/private"));
    }
}
