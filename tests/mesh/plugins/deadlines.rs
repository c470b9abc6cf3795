//! How long skills may take, and what becomes of those that take longer.

use super::*;

/// Waits by looking whether it was given up, and says so.
const PATIENT: &str = r#"
import aigis, os, time
def slow(t):
    end = time.monotonic() + t
    while time.monotonic() < end:
        if aigis.sdk.current_call().cancelled():
            with open(os.path.join(os.path.dirname(__file__), "cancelled"), "a") as f: f.write("x")
            return
        time.sleep(0.02)
    return t
"#;

#[test]
fn plg_46_what_a_skill_calls_ends_with_its_own_time() {
    let plugins = Plugins::new();
    let outer = "import aigis\ndef outer(): return aigis.patient.slow(20)";
    plugins.core("patient", PATIENT, "[\"patient.slow\"]").core("near", outer, "[\"near.outer\"]");
    // Another that brings a module of the same name has a host of its own, so its call goes from process to process.
    let far = "import near_module as far\nSKILLS = [\"far.outer\"]\n";
    plugins.write("far", &[("AIGIS/AIGIS.config", CORE), ("AIGIS/AIGIS.core", far), ("near_module.py", outer)]);
    let mesh = Mesh::hosting(&plugins.table("core", &["patient", "near", "far"]));
    settled(&mesh, "far", "running");
    assert_ne!(row(&mesh, "near").unwrap()["pid"], row(&mesh, "far").unwrap()["pid"]);
    let cancelled = copy(&mesh, "patient").join("cancelled");
    for (times, path) in (1..).zip(["patient.slow", "near.outer", "far.outer"]) {
        let words = ["call", path, "--timeout", "1s"].into_iter().chain((times == 1).then_some("20"));
        let ran = mesh.aish(words).failed(75);
        assert!(ran.took < Duration::from_secs(20), "{path}: {ran:?}");
        until(&format!("what {path} called has ended"), Duration::from_secs(15), || {
            (read(&cancelled).len() == times).then_some(())
        });
    }
}

#[test]
fn plg_46_the_entry_says_how_long_a_plugins_skills_may_take() {
    let plugins = Plugins::new();
    plugins.core("usual", PATIENT, "[\"usual.slow\"]").core("patient", PATIENT, "[\"patient.slow\"]");
    let entry = format!("patient = {{ source = \"{}\", timeout = 40 }}\n", plugins.path("patient").display());
    let mesh = Mesh::hosting(&[plugins.table("core", &["usual"]), entry].concat());
    settled(&mesh, "patient", "running");
    let usual = mesh.spawn(["call", "usual.slow", "35"]);
    assert_eq!(call(&mesh, ["patient.slow", "35"]).good().stdout, "35\n");
    let usual = usual.wait_with_output().unwrap();
    assert_eq!(usual.status.code(), Some(75), "{usual:?}");
}
