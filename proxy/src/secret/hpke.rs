//! HPKE (RFC 9180) in base mode, one message a key: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.

use curve25519_dalek::MontgomeryPoint;
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use zeroize::Zeroizing;

/// Bytes of a key of either half, and of what is put before the ciphertext.
pub(super) const KEY: usize = 32;
/// `KEM` and the id of DHKEM(X25519, HKDF-SHA256).
const KEM_SUITE: &[u8] = b"KEM\x00\x20";
/// `HPKE` and the ids of KEM, key derivation and cipher.
const SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x03";
/// The mode without a key that both sides share or a sender that is proved.
const BASE: u8 = 0;

type Bytes32 = Zeroizing<[u8; KEY]>;

/// The public half of a private key.
pub(super) fn public(secret: &[u8; KEY]) -> [u8; KEY] {
    MontgomeryPoint::mul_base_clamped(*secret).to_bytes()
}

/// A private key from the operating system's randomness; `None` where that fails.
pub(super) fn random() -> Option<Bytes32> {
    let mut secret = Zeroizing::new([0; KEY]);
    SystemRandom::new().fill(secret.as_mut()).ok()?;
    Some(secret)
}

/// Seals to the holder of the private half of `to`: what comes out is the sender's one-time public key and the
/// ciphertext. `None` for a public key that is no point of use, and where the system gives no random numbers.
pub(super) fn seal(to: &[u8; KEY], info: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    seal_with(&*random()?, to, info, &[], plain)
}

/// Opens what [`seal`] made; `None` if it was made for another key, with another info, or was changed.
pub(super) fn open(secret: &[u8; KEY], info: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    open_with(secret, info, &[], sealed)
}

fn seal_with(one_time: &[u8; KEY], to: &[u8; KEY], info: &[u8], aad: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let sender = public(one_time);
    let (key, nonce) = schedule(&*shared(one_time, to, &sender, to)?, info)?;
    let mut text = plain.to_vec();
    cipher(&key)?.seal_in_place_append_tag(nonce, Aad::from(aad), &mut text).ok()?;
    Some([&sender[..], &text].concat())
}

fn open_with(secret: &[u8; KEY], info: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (sender, text) = sealed.split_first_chunk::<KEY>()?;
    let (key, nonce) = schedule(&*shared(secret, sender, sender, &public(secret))?, info)?;
    let mut text = Zeroizing::new(text.to_vec());
    let length = cipher(&key)?.open_in_place(nonce, Aad::from(aad), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

/// The secret of one private key and the other's public one; both sides' public keys are part of what is derived.
fn shared(own: &[u8; KEY], other: &[u8; KEY], sender: &[u8; KEY], receiver: &[u8; KEY]) -> Option<Bytes32> {
    let agreed = Zeroizing::new(MontgomeryPoint(*other).mul_clamped(*own).to_bytes());
    // A point of small order agrees with everybody on nothing (RFC 7748, section 6.1).
    if agreed.iter().fold(0, |all, byte| all | byte) == 0 {
        return None;
    }
    let extracted = extract(KEM_SUITE, &[], b"eae_prk", agreed.as_ref());
    Some(expand(KEM_SUITE, &extracted, b"shared_secret", &[&sender[..], receiver].concat(), KEY))
}

/// The key and nonce of the one message.
fn schedule(shared: &[u8; KEY], info: &[u8]) -> Option<(Bytes32, Nonce)> {
    let (no_id, of_info) = (extract(SUITE, &[], b"psk_id_hash", &[]), extract(SUITE, &[], b"info_hash", info));
    let context = [&[BASE][..], &no_id[..], &of_info[..]].concat();
    let secret = extract(SUITE, shared, b"secret", &[]);
    let nonce = expand(SUITE, &secret, b"base_nonce", &context, NONCE_LEN);
    let nonce = Nonce::try_assume_unique_for_key(nonce.get(..NONCE_LEN)?).ok()?;
    Some((expand(SUITE, &secret, b"key", &context, KEY), nonce))
}

fn cipher(key: &[u8; KEY]) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new)
}

/// LabeledExtract of section 4.
fn extract(suite: &[u8], salt: &[u8], label: &[u8], material: &[u8]) -> Bytes32 {
    mac(salt, &[b"HPKE-v1", suite, label, material])
}

/// LabeledExpand of section 4, of which no more than one block is ever needed.
fn expand(suite: &[u8], key: &[u8; KEY], label: &[u8], info: &[u8], length: usize) -> Bytes32 {
    let length = u16::try_from(length).unwrap_or_default().to_be_bytes();
    mac(key, &[&length, b"HPKE-v1", suite, label, info, &[1]])
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Bytes32 {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    let mut tag = Zeroizing::new([0; KEY]);
    tag.copy_from_slice(context.sign().as_ref());
    tag
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    fn key(text: &str) -> [u8; KEY] {
        hex(text).try_into().unwrap()
    }

    #[test]
    fn the_vectors_of_rfc_9180_hold() {
        // Appendix A.2.1, base mode, sequence number 0.
        let one_time = key("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600");
        let receiver = key("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
        assert_eq!(public(&one_time), key("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"));
        assert_eq!(public(&receiver), key("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a"));
        let info = hex("4f6465206f6e2061204772656369616e2055726e");
        let aad = hex("436f756e742d30");
        let plain = hex("4265617574792069732074727574682c20747275746820626561757479");
        let sealed = seal_with(&one_time, &public(&receiver), &info, &aad, &plain).unwrap();
        let text = "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28";
        assert_eq!(HEXLOWER.encode(&sealed[KEY..]), text);
        assert_eq!(*open_with(&receiver, &info, &aad, &sealed).unwrap(), plain);
    }

    #[test]
    fn a_public_key_that_agrees_on_nothing_is_refused() {
        let one = {
            let mut point = [0; KEY];
            point[0] = 1;
            point
        };
        for point in [[0; KEY], one] {
            assert!(seal(&point, b"", b"value").is_none());
            assert!(open(&random().unwrap(), b"", &[&point[..], &[0; 32]].concat()).is_none());
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_for_its_receiver_alone_and_unchanged(
            plain in proptest::collection::vec(any::<u8>(), 0..200), info in ".{0,20}", at in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let (secret, other) = (random().unwrap(), random().unwrap());
            let sealed = seal(&public(&secret), info.as_bytes(), &plain).unwrap();
            prop_assert_eq!(&*open(&secret, info.as_bytes(), &sealed).unwrap(), &plain);
            prop_assert!(open(&other, info.as_bytes(), &sealed).is_none());
            let other_info = [info.as_bytes(), b"."].concat();
            prop_assert!(open(&secret, &other_info, &sealed).is_none());
            let mut changed = sealed.clone();
            changed[at.index(sealed.len())] ^= 1 << bit;
            // The top bit of a point is not part of it (RFC 7748, section 5), but of what the key is derived from.
            prop_assert!(open(&secret, info.as_bytes(), &changed).is_none());
            prop_assert!(open(&secret, info.as_bytes(), &sealed[..at.index(sealed.len())]).is_none());
        }
    }
}
