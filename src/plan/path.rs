//! Paths in an image, by their text alone.

/// Makes an absolute path out of any: no `.`, no `..`, no double and no trailing slash.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The working directory after a WORKDIR. What is absolute stays as it was written, as BuildKit leaves it.
pub(super) fn workdir(current: &str, path: &str) -> String {
    let current = if current.starts_with('/') {
        current.to_owned()
    } else {
        clean(current)
    };
    if path.is_empty() {
        current
    } else if path.starts_with('/') {
        path.to_owned()
    } else {
        clean(&format!("{current}/{path}"))
    }
}

/// The destination of a copy: clean, with a trailing slash where it says that it is a directory.
pub(super) fn destination(workdir: &str, path: &str) -> String {
    let is_directory =
        path.is_empty() || path == "." || path.ends_with('/') || path.ends_with("/.");
    let mut full = if path.starts_with('/') {
        clean(path)
    } else {
        clean(&format!("{workdir}/{path}"))
    };
    if is_directory && full != "/" {
        full.push('/');
    }
    full
}

/// A source below the root of the context or of a stage: relative, clean; `.` for the root itself.
pub(super) fn source(path: &str) -> String {
    let full = clean(path);
    match full.trim_start_matches('/') {
        "" => ".".to_owned(),
        path => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workdirs_join() {
        for (current, path, expect) in [
            ("", "test", "/test"),
            ("/", "/abs", "/abs"),
            ("/a", "b/../c/", "/a/c"),
            ("/a", "../..", "/"),
            ("/a", "", "/a"),
            ("/a", "/b//c/", "/b//c/"),
            ("rel", "x", "/rel/x"),
        ] {
            assert_eq!(workdir(current, path), expect, "{current} + {path}");
        }
    }

    #[test]
    fn destinations_keep_their_slash() {
        for (dir, path, expect) in [
            ("/w", ".", "/w/"),
            ("/w", "./", "/w/"),
            ("/w", "", "/w/"),
            ("/", ".", "/"),
            ("/w", "a", "/w/a"),
            ("/w", "a/", "/w/a/"),
            ("/w", "a/.", "/w/a/"),
            ("/w", "..", "/"),
            ("/w/", "../x", "/x"),
            ("/w", "/", "/"),
            ("/w", "/x//y/", "/x/y/"),
        ] {
            assert_eq!(destination(dir, path), expect, "{dir} + {path}");
        }
    }

    #[test]
    fn sources_stay_inside() {
        for (path, expect) in [
            (".", "."),
            ("/", "."),
            ("", "."),
            ("../../etc/", "etc"),
            ("a/./b//c", "a/b/c"),
            ("/x*", "x*"),
        ] {
            assert_eq!(source(path), expect, "{path}");
        }
    }
}
