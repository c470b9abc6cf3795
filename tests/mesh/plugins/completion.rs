//! What a shell offers when a word is to be completed.

use super::*;

/// What bash offers for the last of these words, beside options.
fn offered(mesh: &Mesh, words: &str) -> Vec<String> {
    let line = format!(
        "source <(aish completions bash) && COMP_WORDS=({words}) && COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) && \
         _clap_complete_aish aish \"${{COMP_WORDS[COMP_CWORD]}}\" && printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let ran = mesh.shell(&line).good();
    ran.stdout.lines().filter(|line| !line.is_empty() && !line.starts_with('-')).map(str::to_owned).collect()
}

#[test]
fn plg_21_skills_and_plugins_are_offered_as_the_mesh_has_them() {
    let (_plugins, mesh) = fx();
    assert_eq!(offered(&mesh, "aish call cool.no"), ["cool.nolog"]);
    let all = offered(&mesh, "aish call ''");
    for path in ["cool.CONST", "cool.nolog", "fx.status", "fx.reload", "alpha.plugins.list"] {
        assert!(all.iter().any(|offered| offered == path), "{path} in {all:?}");
    }
    assert!(!all.iter().any(|offered| offered.contains("._") || offered == "fx.cool.nolog"), "{all:?}");
    assert_eq!(offered(&mesh, "aish plugins describe ''"), ["fx"]);
    assert_eq!(offered(&mesh, "aish describe al"), ["alpha"]);
    assert_eq!(offered(&mesh, "aish plugins rel"), ["reload"]);
    let _down = mesh.aish(["down"]).good();
    let begun = std::time::Instant::now();
    assert!(offered(&mesh, "aish call cool.").is_empty());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(offered(&mesh, "aish plugins rel"), ["reload"]);
}
