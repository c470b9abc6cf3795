use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use super::*;
use crate::identity::{
    jwt::{Body, Claims},
    mesh::{LIFETIME, MeshKeys},
};

struct Made {
    directory: tempfile::TempDir,
    keys: MeshKeys,
    key: Key,
    jwt: String,
}

fn made() -> Made {
    let directory = tempfile::tempdir().unwrap();
    let keys = MeshKeys::create(&directory.path().join("keys"), &MeshName::parse("main").unwrap()).unwrap();
    let key = Credential::generate().unwrap();
    let jwt = keys.issue(&UserName::parse("vera").unwrap(), Role::Viewer, key.public(), LIFETIME).unwrap();
    Made { directory, keys, key, jwt }
}

impl Made {
    fn file(&self, content: &str) -> PathBuf {
        let file = self.directory.path().join("vera.creds");
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    fn written(&self) -> (PathBuf, String) {
        let file = self.directory.path().join("vera.creds");
        Credential::new(&self.jwt, self.key.clone(), None).unwrap().write(&file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        (file, text)
    }

    fn refused(&self, content: &str) -> String {
        let message = Credential::read(&self.file(content), Some(&self.keys.issuer())).unwrap_err().to_string();
        assert!(message.contains("vera.creds"), "{message}");
        assert!(!message.contains(self.key.seed()) && !message.contains("eyJ"), "{message}");
        message
    }
}

#[test]
fn a_credential_reads_back_and_hides_its_seed() {
    let made = made();
    let (file, text) = made.written();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let read = Credential::read(&file, Some(&made.keys.issuer())).unwrap();
    assert_eq!((read.name().as_str(), read.role(), read.mesh().as_str()), ("vera", Role::Viewer, "main"));
    assert_eq!(read.inbox(), "_INBOX.vera");
    assert!(read.expires().unwrap() > SystemTime::now() + Duration::from_secs(6 * 24 * 3600));
    let shown = format!("{read:?} {:?} {:?}", read.login(), made.keys);
    assert!(!shown.contains(made.key.seed()) && text.contains(made.key.seed()), "{shown}");
}

#[test]
fn bad_44_files_that_hold_no_credential() {
    let made = made();
    let (_, text) = made.written();
    let missing = Credential::read(&made.directory.path().join("none"), None).unwrap_err().to_string();
    assert!(missing.contains("none does not exist"), "{missing}");
    assert!(made.refused("").contains("empty"));
    assert!(made.refused("hello").contains("missing"));
    assert!(made.refused(&text[..200]).contains("cut off"));
    let in_seed = text.find("BEGIN USER NKEY SEED").unwrap() + 40;
    assert!(made.refused(&text[..in_seed]).contains("cut off"));
    assert!(made.refused(&format!("{text}{text}")).contains("more than once"));
    let seed = made.key.seed();
    assert!(made.refused(&text.replace(seed, &format!("{seed}\n{seed}"))).contains("more than once"));
    let other = Credential::generate().unwrap();
    assert!(made.refused(&text.replace(seed, other.seed())).contains("differ"));
    let account = Key::generate(Kind::Account).unwrap();
    assert!(made.refused(&text.replace(seed, account.seed())).contains("kind"));
    assert!(made.refused(&text.replace(seed, &seed[..57])).contains("damaged"));
}

#[test]
fn bad_45_files_that_others_can_reach() {
    let made = made();
    let (file, _) = made.written();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let message = Credential::read(&file, None).unwrap_err().to_string();
    assert!(message.contains(&format!("chmod 600 {}", file.display())) && message.contains("0644"), "{message}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();

    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        let message = Credential::read(&file, None).unwrap_err().to_string();
        assert!(message.contains("user id 65534") && message.contains("chmod 600"), "{message}");
        std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    }
    fs::set_permissions(made.directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let message = Credential::read(&file, None).unwrap_err().to_string();
    assert!(message.contains("0777") && message.contains("chmod 600"), "{message}");
    let message = Credential::read(made.directory.path(), None).unwrap_err().to_string();
    assert!(message.contains("not a regular file"), "{message}");
}

#[test]
fn bad_46_tokens_that_no_issuer_of_this_mesh_made() {
    let made = made();
    let (_, text) = made.written();
    let stranger = MeshKeys::create(&made.directory.path().join("other"), made.keys.mesh()).unwrap();
    let vera = UserName::parse("vera").unwrap();
    let foreign = stranger.issue(&vera, Role::Viewer, made.key.public(), LIFETIME).unwrap();
    assert!(made.refused(&text.replace(&made.jwt, &foreign)).contains("claim iss"));

    let signer = Key::generate(Kind::Account).unwrap();
    let claims = |name: &str, tags: &[&str]| {
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        let user = jwt::User {
            issuer_account: String::new(),
            own: None,
            allowed_connection_types: Vec::new(),
            tags,
            version: 2,
        };
        Claims::new(name, made.key.public(), Body::User(user)).encode(&signer).unwrap()
    };
    let refuse = |jwt: &str| Credential::new(jwt, made.key.clone(), None).unwrap_err();
    assert_eq!(refuse(&claims("*", &["role:viewer", "mesh:main"])), Flaw::Name);
    assert_eq!(refuse(&claims("vera", &["role:root", "mesh:main"])), Flaw::Tags);
    assert_eq!(refuse(&claims("vera", &["role:viewer", "role:admin", "mesh:main"])), Flaw::Tags);
    assert!(matches!(refuse(&format!("{}.x", made.jwt)), Flaw::Token(jwt::Error::Parts { parts: 4 })));
}

#[test]
fn bad_47_credentials_out_of_their_time() {
    let made = made();
    let signer = Key::generate(Kind::Account).unwrap();
    let tags = vec!["role:viewer".to_owned(), "mesh:main".to_owned()];
    let user =
        jwt::User { issuer_account: String::new(), own: None, allowed_connection_types: Vec::new(), tags, version: 2 };
    let mut claims = Claims::new("vera", made.key.public(), Body::User(user));
    (claims.nbf, claims.exp) = (Some(1_000_000_000), Some(1_000_000_100));
    let jwt = claims.encode(&signer).unwrap();
    let at = |now| Credential::check(&jwt, made.key.clone(), None, Some(now)).map(drop);

    assert_eq!(at(1_000_000_050), Ok(()));
    let expired = at(1_000_000_100).unwrap_err().to_string();
    assert!(expired.contains("2001-09-09T01:48:20Z") && expired.contains("clock"), "{expired}");
    let early = at(999_999_999).unwrap_err().to_string();
    assert!(early.contains("2001-09-09T01:46:40Z") && early.contains("2001-09-09T01:46:39Z"), "{early}");
    assert!(early.contains("clock"), "{early}");
}
