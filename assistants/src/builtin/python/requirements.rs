//! What a `requirements.txt` asks of the system.

/// What `pip` needs to fetch from a repository.
const GIT: &[&str] = &["git"];
/// What a package needs that `pip` does not install.
const SYSTEM: &[(&str, &[&str])] = &[("opencv-python", &["libgl1", "libglib2.0-0"])];

/// The packages of the system that the requirements need, each once.
pub(super) fn apt(requirements: &str) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for line in lines(requirements) {
        let fetched: &[&str] = if is_fetched(line) { GIT } else { &[] };
        let name = name(line);
        let system = SYSTEM.iter().filter(|(known, _)| *known == name).flat_map(|(_, packages)| *packages);
        for package in fetched.iter().chain(system) {
            if !packages.contains(package) {
                packages.push(*package);
            }
        }
    }
    packages
}

/// Whether they name files of the app beside themselves.
pub(super) fn names_files(requirements: &str) -> bool {
    lines(requirements).any(|line| {
        let (name, place) = line.split_once('@').unwrap_or(("", line));
        let place = place.trim();
        let is_path = place.starts_with(['.', '/']) || place.starts_with("file:");
        let is_named = name.trim().bytes().all(is_of_name) && is_path;
        let option = ["-r", "-c", "-e", "--requirement", "--constraint", "--editable"];
        is_named || option.iter().any(|option| line.starts_with(option))
    })
}

fn lines(requirements: &str) -> impl Iterator<Item = &str> {
    requirements.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Whether a line is for a repository: `x @ git+https://…`, or the URL alone.
fn is_fetched(line: &str) -> bool {
    let place = line.split_once('@').map(|(_, place)| place.trim_start());
    let alone = ["-e", "--editable"].iter().find_map(|option| line.strip_prefix(option)).unwrap_or(line);
    let alone = alone.trim_start_matches(['=', ' ', '\t']);
    [place, Some(alone)].into_iter().flatten().any(|place| place.starts_with("git+"))
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// The name at the beginning of a line, as the package index compares names.
fn name(line: &str) -> String {
    let name: String = line.chars().take_while(|c| u8::try_from(*c).is_ok_and(is_of_name)).collect();
    let parts = name.split(['.', '_', '-']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chn_21_what_the_system_must_have_follows_from_the_lines() {
        for (requirements, expected) in [
            ("x @ git+https://h/x.git\nopencv-python==4\n", &["git", "libgl1", "libglib2.0-0"][..]),
            ("x@git+ssh://h/x", &["git"]),
            ("git+https://h/x\n-e git+https://h/y", &["git"]),
            ("OpenCV_Python", &["libgl1", "libglib2.0-0"]),
            ("opencv-python-headless\nGitPython\n# x @ git+https://h", &[]),
            ("x @ https://h/x.whl", &[]),
            ("", &[]),
        ] {
            assert_eq!(apt(requirements), expected, "{requirements}");
        }
    }

    #[test]
    fn files_of_the_app_are_told_from_packages() {
        for with in ["-r more.txt", "./wheel.whl", "-e .", "--constraint c.txt", "x @ file:///app/x", "a\n./b"] {
            assert!(names_files(with), "{with}");
        }
        for without in ["flask", "x @ git+https://h/x@v1", "flask==1.0 # ./x", "x @ https://h/./x", ""] {
            assert!(!names_files(without), "{without}");
        }
    }
}
