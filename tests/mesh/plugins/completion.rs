//! What a shell offers when a word is to be completed.

use super::*;

#[test]
fn plg_21_skills_and_plugins_are_offered_as_the_mesh_has_them() {
    let (_plugins, mesh) = fx();
    assert_eq!(mesh.offered("aish call cool.no"), ["cool.nolog"]);
    let all = mesh.offered("aish call ''");
    for path in ["cool.CONST", "cool.nolog", "fx.status", "fx.reload", "alpha.plugins.list"] {
        assert!(all.iter().any(|offered| offered == path), "{path} in {all:?}");
    }
    assert!(!all.iter().any(|offered| offered.contains("._") || offered == "fx.cool.nolog"), "{all:?}");
    assert_eq!(mesh.offered("aish plugins describe ''"), ["fx"]);
    assert_eq!(mesh.offered("aish describe al"), ["alpha"]);
    assert_eq!(mesh.offered("aish plugins rel"), ["reload"]);
    let _down = mesh.aish(["down"]).good();
    let begun = std::time::Instant::now();
    assert!(mesh.offered("aish call cool.").is_empty());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(mesh.offered("aish plugins rel"), ["reload"]);
}
