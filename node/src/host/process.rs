//! One process, from `/proc`.

use std::{fs, path::Path};

use super::{read_bytes, read_text};
use crate::services::Process;

const MAX_ARGUMENTS: u64 = 128 * 1024;

/// Reads a process; `None` if it has ended, or ended and is only waited for.
pub(super) fn read(pid: u32) -> Option<Process> {
    let status = read_text(Path::new(&format!("/proc/{pid}/status")), 64 * 1024).ok()?;
    let (ppid, uid, ended) = status_fields(&status)?;
    if ended {
        return None;
    }
    let arguments = read_bytes(Path::new(&format!("/proc/{pid}/cmdline")), MAX_ARGUMENTS).ok()?;
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok();
    Some(Process {
        pid,
        ppid,
        user: uid,
        args: split(&arguments),
        exact_argv: true,
        executable: executable.map(|path| path.to_string_lossy().into_owned()),
    })
}

/// The parent, the effective user's number, and whether the process has ended.
fn status_fields(text: &str) -> Option<(u32, String, bool)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let ppid = field("PPid:")?.parse().ok()?;
    let uid = field("Uid:")?.split_whitespace().nth(1)?.to_owned();
    let ended = field("State:").is_some_and(|state| state.starts_with(['Z', 'X']));
    Some((ppid, uid, ended))
}

/// Takes a `cmdline` file apart. A program that wrote a title over its arguments leaves zeros behind it.
fn split(bytes: &[u8]) -> Vec<String> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let Some(kept) = bytes.get(..end).filter(|kept| !kept.is_empty()) else { return Vec::new() };
    kept.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_taken_apart() {
        assert_eq!(split(b"sh\0-c\0echo a b\0"), ["sh", "-c", "echo a b"]);
        assert_eq!(
            split(b"nginx: master process nginx -g daemon off;\0\0\0\0"),
            ["nginx: master process nginx -g daemon off;"]
        );
        assert_eq!(split(b"a\0\0b\0"), ["a", "", "b"]);
        assert!(split(b"").is_empty());
        assert!(split(b"\0\0").is_empty());
    }

    #[test]
    fn a_status_file_is_read() {
        let text = "Name:\tsleep\nState:\tS (sleeping)\nPid:\t9\nPPid:\t4\nUid:\t1000\t33\t0\t0\n";
        assert_eq!(status_fields(text), Some((4, "33".to_owned(), false)));
        assert_eq!(status_fields(&text.replace("S (sl", "Z (sl")).map(|found| found.2), Some(true));
        assert_eq!(status_fields("garbage"), None);
    }

    #[test]
    fn this_process_is_read() {
        let own = read(std::process::id()).unwrap();
        assert_eq!(own.args, std::env::args().collect::<Vec<_>>());
        assert!(own.executable.is_some());
    }
}
