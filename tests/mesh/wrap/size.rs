//! What is too large for a message of the bus reaches a program whole, and comes back whole.

use super::*;

const SIZES: [usize; 3] = [6_000, 2_000_000, 50_000_000];

/// The SHA-256 of a file, as the operating system's own program has it.
fn digest(path: &Path) -> String {
    let ran = Command::new("sha256sum").arg(path).stdout(Stdio::piped()).output().unwrap();
    String::from_utf8_lossy(&ran.stdout).split_whitespace().next().unwrap().to_owned()
}

#[test]
fn ci_63_six_kilobytes_to_fifty_megabytes_both_ways() {
    let alpha = Mesh::up();
    let beta = alpha.joined("beta");
    let log = log(&beta);
    let (env, script) = (format!("LOG={}", log.display()), script("lines_of_json.py"));
    let _programs = ["digest", "random"]
        .map(|mode| beta.wrap(["-n", mode, "--jsonl", "--env", &env, "--", "python3", &script, mode]));
    found(&alpha, "digest");
    found(&alpha, "random");
    let (given, got) = (alpha.path().join("given"), alpha.path().join("got"));
    let (given_text, got_text) = (given.display().to_string(), got.display().to_string());
    for size in SIZES {
        let ran = alpha.shell(&format!("head -c {size} /dev/urandom >{given_text}"));
        assert_eq!(ran.code, 0);
        let ran = alpha.shell(&format!("aish digest what --timeout 10m <{given_text}")).good();
        assert_eq!(ran.stdout, format!("{} {size}\n", digest(&given)));
        let _ = alpha.shell(&format!("aish random {size} --timeout 10m >{got_text}")).good();
        assert_eq!(fs::metadata(&got).unwrap().len(), size as u64);
        assert_eq!(lines(&log).last(), Some(&digest(&got)));
    }
}
