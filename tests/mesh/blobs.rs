//! What is too large for a message of the bus, through the real binary.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use aigis_tests::{Container, Mesh, nonce};

const BUSYBOX: &str = "aigis-test/busybox";

/// Text without a pattern that would be worth guessing.
fn text(length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 64);
    while text.len() < length {
        writeln!(text, "{:016x} {}", text.len().wrapping_mul(0x9E37_79B9_7F4A_7C15), text.len()).unwrap();
    }
    text.truncate(length);
    text
}

/// What the host's own program says.
fn sha256(content: &[u8]) -> String {
    let mut program = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    program.stdin.take().unwrap().write_all(content).unwrap();
    let output = program.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
}

#[test]
fn ci_63_large_input_and_output_of_a_command() {
    let mesh = Mesh::up();
    let name = format!("test-large-{}", nonce());
    let container = Container::run(&name, &[], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    let content = text(50_000_000);
    let said = mesh.with_input(["exec", &name, "--", "cat"], Some(&content[..2_000_000])).good();
    assert!(said.stdout.as_bytes() == &content[..2_000_000], "{} bytes came over the socket", said.stdout.len());
    // From here on all goes over the bus, as it does between hosts.
    std::fs::remove_file(mesh.path().join("node.sock")).unwrap();
    let summed =
        mesh.with_input(["--timeout", "5m", "exec", &name, "--", "busybox", "sha256sum"], Some(&content)).good();
    assert_eq!(summed.stdout.split_whitespace().next(), Some(sha256(&content).as_str()));
    let mut bytes = content[..2_000_000].to_vec();
    bytes[7] = 0xFF;
    let summed = mesh.with_input(["exec", &name, "--", "busybox", "sha256sum"], Some(&bytes)).good();
    assert_eq!(summed.stdout.split_whitespace().next(), Some(sha256(&bytes).as_str()));
    let said = mesh.with_input(["--timeout", "5m", "exec", &name, "--", "cat"], Some(&content[..5_000_000])).good();
    assert!(said.stdout.as_bytes() == &content[..5_000_000], "{} bytes came back", said.stdout.len());
    let refused = mesh.with_input(["exec", &name, "--", "cat"], Some(&text(64 * 1024 * 1024 + 1))).failed(1);
    assert!(refused.stderr.contains("67107840"), "{refused:?}");
}
