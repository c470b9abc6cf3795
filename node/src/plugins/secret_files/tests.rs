use super::*;
use crate::plugins::manifest::{FILE, Manifest};

struct Scene {
    directory: tempfile::TempDir,
    folder: Folder,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::new(&directory.path().join("data"), &Name::parse("fx").unwrap());
        fs::create_dir_all(folder.copy().join("AIGIS")).unwrap();
        Self { directory, folder }
    }

    fn wanted(&self, secrets: &str) -> BTreeMap<SecretName, PathBuf> {
        let copy = self.folder.copy();
        let text =
            format!("PLUGIN_TYPE = 'external'\nENTRYPOINT = '{{root}}'\nLAUNCH = ['x']\nSECRETS = {{{secrets}}}");
        fs::write(copy.join(FILE), text).unwrap();
        Manifest::read(&copy, &copy).unwrap().secrets
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.copy().join(file)
    }

    fn seen(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.path(file)).ok()
    }

    /// Puts a secret beside the config file, or one level above it.
    fn store(&self, place: &str, key: &str, value: &str, mode: u32) {
        let path = self.directory.path().join(place).join("secrets/fx").join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As an editor does it: another file takes its place.
        let fresh = path.with_extension("fresh");
        fs::write(&fresh, value).unwrap();
        fs::set_permissions(&fresh, Permissions::from_mode(mode)).unwrap();
        fs::rename(fresh, path).unwrap();
    }

    fn deliver(&self, secrets: &str) -> Result<(), Error> {
        let wanted = self.wanted(secrets);
        let config = self.directory.path().join("etc/config.aigis");
        deliver(&self.folder, &wanted, &beside(&config, self.folder.name(), wanted.keys())?)
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn plg_60_secrets_are_put_where_they_are_looked_for() {
    let scene = Scene::new();
    scene.store("etc", "sub/one.key", "first", 0o600);
    scene.store("", "two.key", "second", 0o440);
    scene.deliver("'sub/one.key': '{root}/keys/deep/', 'two.key': '{root}'").unwrap();
    assert_eq!(
        (scene.seen("keys/deep/one.key").as_deref(), scene.seen("two.key").as_deref()),
        (Some("first"), Some("second"))
    );
    assert_eq!((mode(&scene.path("keys/deep")), mode(&scene.path("keys/deep/one.key"))), (0o700, 0o600));
    assert_eq!(mode(&scene.path("two.key")), 0o440, "the stored one");
    let ledger = fs::read_to_string(scene.folder.secrets()).unwrap();
    assert!(!ledger.contains("first") && mode(&scene.folder.secrets()) == 0o600, "{ledger}");
}

#[test]
fn plg_60_all_that_is_missing_is_named_and_nothing_is_written() {
    let scene = Scene::new();
    scene.store("etc", "one", "first", 0o600);
    let error = scene.deliver("'one': '{root}/s', 'three': '{root}/s', 'two': '{root}/s'").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("three, two") && !text.contains("one,"), "{text}");
    assert!(aigis_proxy::Error::from(error).hint.is_some_and(|hint| hint.contains("plugin/fx")));
    assert!(!scene.path("s").exists() && !scene.folder.secrets().exists());
    // A directory that cannot be made: the other one stays empty.
    scene.store("etc", "two", "second", 0o600);
    let wanted = scene.wanted("'one': '{root}/a', 'two': '{root}/file/b'");
    fs::write(scene.path("file"), "x").unwrap();
    let config = scene.directory.path().join("etc/config.aigis");
    let stored = beside(&config, scene.folder.name(), wanted.keys()).unwrap();
    assert!(matches!(deliver(&scene.folder, &wanted, &stored), Err(Error::Io { .. })));
    assert_eq!(fs::read_dir(scene.path("a")).unwrap().count(), 0);
}

#[test]
fn what_a_plugin_made_of_a_secret_stays_until_the_secret_changes() {
    let scene = Scene::new();
    scene.store("etc", "k", "one", 0o600);
    let secrets = "'k': '{root}/s'";
    scene.deliver(secrets).unwrap();
    fs::write(scene.path("s/k"), "changed by the plugin").unwrap();
    scene.deliver(secrets).unwrap();
    assert_eq!(scene.seen("s/k").as_deref(), Some("changed by the plugin"));
    scene.store("etc", "k", "two", 0o600);
    scene.deliver(secrets).unwrap();
    assert_eq!(scene.seen("s/k").as_deref(), Some("two"));
    fs::remove_file(scene.path("s/k")).unwrap();
    scene.deliver(secrets).unwrap();
    assert_eq!(scene.seen("s/k").as_deref(), Some("two"), "what it took away it gets again");
    // Wanted no more: gone, unless the plugin has made it its own.
    scene.store("etc", "other", "o", 0o600);
    scene.deliver("'k': '{root}/s', 'other': '{root}/s'").unwrap();
    fs::write(scene.path("s/other"), "own now").unwrap();
    scene.deliver("").unwrap();
    assert_eq!((scene.seen("s/k"), scene.seen("s/other").as_deref()), (None, Some("own now")));
    scene.deliver(secrets).unwrap();
    fs::write(scene.path("s/k"), "changed").unwrap();
    withdraw(&scene.folder).unwrap();
    withdraw(&scene.folder).unwrap();
    assert!(scene.seen("s/k").is_none() && !scene.folder.secrets().exists());
}

#[test]
fn no_link_leads_a_secret_out() {
    let scene = Scene::new();
    scene.store("etc", "k", "one", 0o600);
    let wanted = scene.wanted("'k': '{root}/s/deep'");
    let outside = scene.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, scene.path("s")).unwrap();
    let config = scene.directory.path().join("etc/config.aigis");
    let stored = beside(&config, scene.folder.name(), wanted.keys()).unwrap();
    let error = deliver(&scene.folder, &wanted, &stored).unwrap_err();
    assert!(matches!(error, Error::Outside { .. }) && error.to_string().contains("outside"), "{error}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_secret_that_is_no_file_or_too_large_is_refused() {
    let scene = Scene::new();
    let path = scene.directory.path().join("etc/secrets/fx/k");
    fs::create_dir_all(&path).unwrap();
    assert!(scene.deliver("'k': '{root}'").unwrap_err().to_string().contains("fx/k"));
    fs::remove_dir(&path).unwrap();
    fs::write(&path, vec![0; MAX_VALUE + 1]).unwrap();
    assert!(scene.deliver("'k': '{root}'").is_err());
    let secret = Secret { value: Zeroizing::new(b"hush-hush".to_vec()), version: "1".into(), mode: MODE };
    assert!(!format!("{secret:?}").contains("hush") && !format!("{secret:?}").contains("104"));
}
