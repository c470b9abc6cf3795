use std::fs;

use super::*;
use crate::plugins::manifest::{CORE_FILE, FILE};

fn plugin(settings: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("AIGIS")).unwrap();
    fs::write(directory.path().join(FILE), settings).unwrap();
    fs::write(directory.path().join(CORE_FILE), "SKILLS = []").unwrap();
    directory
}

const CORE: &str = "PLUGIN_TYPE = 'core'\nENTRYPOINT = '{root}'\n";

/// A package `aigis` whose host answers what the test wants, in the form that the real one answers in.
fn sdk(script: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let host = directory.path().join("aigis/_host");
    fs::create_dir_all(&host).unwrap();
    fs::write(directory.path().join("aigis/__init__.py"), "").unwrap();
    fs::write(host.join("__init__.py"), "").unwrap();
    fs::write(host.join("__main__.py"), format!("import json, sys\nplugin = json.load(sys.stdin)\n{script}")).unwrap();
    directory
}

#[test]
fn what_a_host_lacks_is_a_warning_as_long_as_nothing_runs() {
    let plugin = plugin(&format!("{CORE}SYSTEM_REQUIREMENTS = ['sh', 'no-such-program', 'pip3.7']"));
    let checked = look(plugin.path()).unwrap();
    assert_eq!(checked.missing_programs, ["no-such-program"]);
    assert!(checked.warnings.join("").contains("no-such-program"), "{:?}", checked.warnings);
    let error = aigis_proxy::Error::from(look(&plugin.path().join("none")).unwrap_err());
    assert_eq!(error.code, Code::InvalidArgument);
}

#[tokio::test]
async fn a_plugin_is_tried_on_a_copy_of_it() {
    let sdk = sdk("print('noise from the plugin', file=sys.stderr)\n\
        print(json.dumps({'warnings': ['odd'], 'skills': [{'path': plugin['name'] + '.hi', 'root': plugin['root']}], 'argv': sys.argv[1:]}))");
    let plugin = plugin(CORE);
    let checked = run(plugin.path(), sdk.path(), &mut |_| {}).await.unwrap_or_else(|error| panic!("{error}"));
    let skills = checked.skills.unwrap();
    assert!(skills[0]["path"].as_str().unwrap().ends_with(".hi"), "{skills}");
    let root = skills[0]["root"].as_str().unwrap();
    assert!(!Path::new(root).exists() && !Path::new(root).starts_with(plugin.path()), "{root}");
    assert_eq!(checked.manifest.entrypoint, plugin.path().canonicalize().unwrap());
    assert!(checked.interpreter.is_some());
    assert_eq!(checked.warnings, ["odd"]);
    assert_eq!(fs::read_dir(plugin.path()).unwrap().count(), 1, "nothing is written to the plugin");
}

#[tokio::test]
async fn what_keeps_a_plugin_from_running_is_told() {
    let sdk = sdk(
        "print(json.dumps({'error': {'code': 'invalid_argument', 'message': 'SKILLS names cool.nope'}}))\nsys.exit(65)",
    );
    let tried = async |settings: &str| {
        let plugin = plugin(&format!("{CORE}{settings}"));
        run(plugin.path(), sdk.path(), &mut |_| {}).await.unwrap_err()
    };
    assert!(tried("").await.to_string().contains("SKILLS names cool.nope"));
    let missing = tried("SYSTEM_REQUIREMENTS = ['no-such-1', 'no-such-2']").await;
    assert!(matches!(&missing, Error::Programs(all) if all.len() == 2), "{missing}");
    let failed = tried("REQUIREMENT_COMMAND = ['sh', '-c', 'echo why; exit 9']").await.to_string();
    assert!(failed.contains("exit code 9") && failed.contains("why"), "{failed}");
}
