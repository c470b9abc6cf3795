use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::{
    UserName,
    identity::{key::Kind, permissions},
};

fn keys() -> (tempfile::TempDir, MeshKeys) {
    let directory = tempfile::tempdir().unwrap();
    let keys = MeshKeys::create(&directory.path().join("keys"), &MeshName::parse("main").unwrap()).unwrap();
    (directory, keys)
}

#[test]
fn the_keys_lie_in_private_files_and_open_again() {
    let (directory, keys) = keys();
    let path = directory.path().join("keys");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let again = MeshKeys::open(&path).unwrap();
    assert_eq!(again.accounts(), keys.accounts());
    assert_eq!(again.issuer(), keys.issuer());
    let exists = MeshKeys::create(&path, keys.mesh()).unwrap_err();
    assert!(matches!(exists, Error::Exists { .. }));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing staged stays");
}

#[test]
fn keys_of_another_mesh_beside_a_token_are_refused() {
    let (one, _) = keys();
    let (other, _) = keys();
    let (one, other) = (one.path().join("keys"), other.path().join("keys"));
    fs::copy(other.join("mesh.jwt"), one.join("mesh.jwt")).unwrap();
    assert!(matches!(MeshKeys::open(&one), Err(Error::Foreign { .. })));
}

#[test]
fn changed_permissions_are_signed_anew_and_revocations_stay() {
    let (directory, keys) = keys();
    let path = directory.path().join("keys");
    let revoked = Key::generate(Kind::User).unwrap();
    keys.revoke(revoked.public()).unwrap();
    let mut claims = jwt::decode(&keys.accounts()[1].jwt).unwrap();
    if let Body::Account(account) = &mut claims.nats {
        account.signing_keys[0].template.subs = 7;
    }
    let old = claims.encode(&keys.operator).unwrap();
    private_file::write(&path.join("mesh.jwt"), &old).unwrap();

    let again = MeshKeys::open(&path).unwrap();
    let Body::Account(account) = jwt::decode(&again.accounts()[1].jwt).unwrap().nats else { panic!("no account") };
    let limits: Vec<i64> = account.signing_keys.iter().map(|scope| scope.template.subs).collect();
    assert!(limits.iter().all(|limit| [1_000, 16_384].contains(limit)), "{limits:?}");
    assert_eq!(limits.iter().filter(|limit| **limit == permissions::subscriptions(Role::Node)).count(), 1);
    assert!(account.revocations.contains_key(revoked.public()));
}

#[test]
fn credentials_are_issued_for_user_keys_alone() {
    let (_directory, keys) = keys();
    let account = Key::generate(Kind::Account).unwrap();
    let name = UserName::parse("vera").unwrap();
    assert!(matches!(keys.issue(&name, Role::Viewer, account.public(), LIFETIME), Err(Error::PublicKey { .. })));
    assert!(matches!(keys.issue(&name, Role::Viewer, "*", LIFETIME), Err(Error::PublicKey { .. })));
}
