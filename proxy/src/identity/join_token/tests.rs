use std::{sync::OnceLock, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::identity::MeshKeys;

/// A token that was made long ago for a second: whoever reads it does not look at the clock.
fn token() -> JoinToken {
    let directory = tempfile::tempdir().unwrap();
    let keys = MeshKeys::create(&directory.path().join("keys"), &MeshName::parse("main").unwrap()).unwrap();
    let (id, key) = (UserName::parse("token-1").unwrap(), Key::generate(Kind::User).unwrap());
    JoinToken {
        mesh: keys.mesh().clone(),
        bus: "nats://127.0.0.1:4222".to_owned(),
        ca: None,
        issuer: NodeName::parse("alpha").unwrap(),
        account: keys.issuer().account,
        role: Role::Node,
        name: None,
        jwt: keys.issue_token(&id, key.public(), Duration::ZERO).unwrap(),
        key,
    }
}

fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| token().to_text().to_string())
}

#[test]
fn a_token_reads_back_and_its_credential_is_not_judged_by_this_clock() {
    let token = token();
    let read = JoinToken::parse(&token.to_text()).unwrap();
    assert_eq!(read.to_text(), token.to_text());
    let credential = read.credential().unwrap();
    assert_eq!((credential.role(), credential.name().as_str()), (Role::Join, "token-1"));
    assert!(Credential::new(&read.jwt, read.key.clone(), None).is_err(), "its time is over");
    let shown = format!("{read:?}");
    assert!(!shown.contains(token.key.seed()) && !shown.contains(&token.jwt), "{shown}");
}

#[test]
fn bad_48_white_space_does_not_count() {
    let (head, tail) = text().split_at(70);
    assert!(JoinToken::parse(&format!(" \n{head}\r\n  {tail}\t\n")).is_ok());
}

#[test]
fn bad_48_what_is_no_token_is_said_to_be_none() {
    for foreign in ["", "aigis", "aigis2-AAAA", "eyJ0", &text().to_uppercase(), &"a".repeat(1 << 20)] {
        assert_eq!(JoinToken::parse(foreign).unwrap_err(), Damaged::Foreign);
    }
    for altered in
        ["aigis1-", "aigis1-AAAA", "aigis1-AAAAAAAAAAAAAAAA", "aigis1-é", &text().replacen("aigis1-", "aigis1-A", 1)]
    {
        assert_eq!(JoinToken::parse(altered).unwrap_err(), Damaged::Altered, "{altered}");
    }
}

proptest! {
    #[test]
    fn bad_48_any_one_changed_character_is_refused(place in any::<prop::sample::Index>(), other in "[ -~é]") {
        let mut characters: Vec<String> = text().chars().map(String::from).collect();
        let place = place.index(characters.len());
        prop_assume!(characters[place] != other);
        characters[place] = other;
        prop_assert!(JoinToken::parse(&characters.concat()).is_err());
    }

    #[test]
    fn bad_48_any_cut_token_is_refused(from in any::<prop::sample::Index>(), length in any::<prop::sample::Index>()) {
        let from = from.index(text().len());
        let cut = &text()[from..from + length.index(text().len() - from)];
        prop_assert!(JoinToken::parse(cut).is_err());
    }
}
