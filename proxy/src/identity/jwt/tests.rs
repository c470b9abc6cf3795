use super::*;

fn user(signer: &Key, subject: &Key) -> Claims {
    let user = User {
        issuer_account: signer.public().to_owned(),
        own: None,
        allowed_connection_types: Vec::new(),
        tags: Vec::new(),
        version: 2,
    };
    Claims::new("vera", subject.public(), Body::User(user))
}

fn forge(header: &str, claims: &[u8], signer: &Key) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = signer.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_token_reads_back_as_it_was_signed() {
    let (account, holder) = (Key::generate(Kind::Account).unwrap(), Key::generate(Kind::User).unwrap());
    let claims = user(&account, &holder);
    let token = claims.clone().encode(&account).unwrap();
    let read = decode(&token).unwrap();
    assert_eq!((read.nats, read.sub, read.iss), (claims.nats, claims.sub, account.public().to_owned()));
    assert_eq!(read.jti.len(), 52);
}

#[test]
fn bad_46_tokens_of_another_kind_are_refused_by_claim() {
    let (account, holder) = (Key::generate(Kind::Account).unwrap(), Key::generate(Kind::User).unwrap());
    let good = user(&account, &holder).encode(&account).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(good.split('.').nth(1).unwrap()).unwrap();
    let nats = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

    for algorithm in ["none", "RS256", "ed25519"] {
        let forged = forge(&format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#), &claims, &account);
        assert_eq!(decode(&forged), Err(Error::Algorithm), "{algorithm}");
    }
    assert_eq!(decode(&format!("{good}.x")), Err(Error::Parts { parts: 4 }));
    assert_eq!(decode("one"), Err(Error::Parts { parts: 1 }));
    assert_eq!(decode(&"a".repeat(1024 * 1024)), Err(Error::TooLong { length: 1024 * 1024 }));
    for wrong in [&b"vera"[..], b"[]", b"{}", b"{\"sub\":1}", b"\xff\xff", b"{\"a\":1,\"a\":1}"] {
        assert_eq!(decode(&forge(nats, wrong, &account)), Err(Error::Json { part: "claims" }));
    }
    assert_eq!(decode(&format!("!.{good}")), Err(Error::Parts { parts: 4 }));
    assert_eq!(decode("!.!.!"), Err(Error::Base64 { part: "header" }));
    let stranger = Key::generate(Kind::Account).unwrap();
    assert_eq!(decode(&forge(nats, &claims, &stranger)), Err(Error::Signature));
    let edited = String::from_utf8(claims).unwrap().replace("vera", "adam");
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let header = signed.split('.').next().unwrap();
    let edited = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(edited));
    assert_eq!(decode(&edited), Err(Error::Signature));
}

#[test]
fn users_are_signed_by_accounts_alone() {
    let (operator, holder) = (Key::generate(Kind::Operator).unwrap(), Key::generate(Kind::User).unwrap());
    let claims = user(&operator, &holder);
    assert_eq!(claims.encode(&operator), Err(Error::KeyKind { claim: "iss", expected: Kind::Account }));
}
