//! Credential files that cannot be used: refused before any connection is tried.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aigis_proxy::{
    MeshName, Role, UserName,
    identity::{
        Credential, Issuer, Key, Kind, MeshKeys,
        jwt::{Body, Claims, User},
        mesh::LIFETIME,
    },
};
use aigis_tests::{Mesh, Ran, until};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A host of a mesh whose bus is a listener that counts who comes, and whose signing key is the test's.
struct Host {
    mesh: Mesh,
    bus: TcpListener,
    signer: Key,
    user: Key,
    seed: String,
    good: String,
    file: PathBuf,
}

impl Host {
    fn new() -> Self {
        let mesh = Mesh::absent();
        let bus = TcpListener::bind("127.0.0.1:0").unwrap();
        bus.set_nonblocking(true).unwrap();
        let signer = Key::generate(Kind::Account).unwrap();
        let account = Key::generate(Kind::Account).unwrap().public().to_owned();
        let roles = [(signer.public().to_owned(), Role::Viewer)].into();
        let name = MeshName::parse("main").unwrap();
        let issuer = Issuer { mesh: name, account, roles, former: BTreeMap::new(), serial: 0 };
        let file = mesh.path().join("creds/vera.creds");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::set_permissions(file.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(mesh.path().join("issuer.json"), serde_json::to_vec(&issuer).unwrap()).unwrap();
        let user = Key::generate(Kind::User).unwrap();
        let mut host = Self { mesh, bus, signer, user, seed: String::new(), good: String::new(), file };
        let token = host.claims("vera").encode(&host.signer).unwrap();
        // A file of ours shows the seed, which no key does.
        Credential::new(&token, host.user.clone(), Some(&issuer)).unwrap().write(&host.file).unwrap();
        host.good = fs::read_to_string(&host.file).unwrap();
        host.seed = host.good.lines().find(|line| line.starts_with("SU")).unwrap().to_owned();
        host
    }

    fn account(&self) -> String {
        let issuer: Value = serde_json::from_slice(&fs::read(self.mesh.path().join("issuer.json")).unwrap()).unwrap();
        issuer["account"].as_str().unwrap().to_owned()
    }

    fn claims(&self, name: &str) -> Claims {
        let tags = vec!["role:viewer".to_owned(), "mesh:main".to_owned()];
        let user =
            User { issuer_account: self.account(), own: None, allowed_connection_types: Vec::new(), tags, version: 2 };
        Claims::new(name, self.user.public(), Body::User(user))
    }

    /// A token with a header and claims of the test's choice, well signed.
    fn token(&self, header: &Value, claims: &[u8]) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.signer.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn with(&self, token: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            self.seed
        )
    }

    fn write(&self, content: &str) {
        fs::write(&self.file, content).unwrap();
        fs::set_permissions(&self.file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn ask(&self) -> Vec<String> {
        let bus = format!("nats://{}", self.bus.local_addr().unwrap());
        ["--bus", &bus, "--creds", &self.file.display().to_string(), "list"].map(str::to_owned).to_vec()
    }

    /// Asks with the file as it is: refused with its name and these words, no content of it, and no connection.
    fn refused(&self, words: &[&str]) -> Ran {
        let ran = self.mesh.aish(self.ask()).refused(77);
        for word in words.iter().copied().chain(["vera.creds"]) {
            assert!(ran.stderr.contains(word), "{word:?} is not in {ran:?}");
        }
        assert!(!ran.stderr.contains(&self.seed) && !ran.stderr.contains("eyJ"), "{ran:?}");
        assert!(ran.stderr.len() < 2000, "{ran:?}");
        let came = self.bus.accept().map(|(_, address)| address);
        assert_eq!(came.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        ran
    }

    fn refuses(&self, content: &str, words: &[&str]) {
        self.write(content);
        let _ran = self.refused(words);
    }
}

#[test]
fn bad_44_a_file_that_holds_no_credential() {
    let host = Host::new();
    let mut good = host.mesh.spawn(host.ask());
    until("a good one makes a connection", Duration::from_secs(20), || host.bus.accept().ok());
    good.kill().unwrap();
    good.wait().unwrap();
    // Whoever asked may have tried again meanwhile.
    while host.bus.accept().is_ok() {}

    let (text, seed) = (&host.good, &host.seed);
    host.refuses("", &["empty"]);
    host.refuses("hello", &["missing"]);
    host.refuses(&text[..200], &["cut off"]);
    host.refuses(&format!("{text}{text}"), &["more than once"]);
    host.refuses(&text.replace(seed, &format!("{seed}\n{seed}")), &["more than once"]);
    let other = Host::new();
    host.refuses(&text.replace(seed, &other.seed), &["differ"]);
    let _keys = MeshKeys::create(&host.mesh.path().join("issuer"), &MeshName::parse("main").unwrap()).unwrap();
    let account = fs::read_to_string(host.mesh.path().join("issuer/mesh.seed")).unwrap();
    host.refuses(&text.replace(seed, account.trim()), &["kind"]);
    fs::remove_file(&host.file).unwrap();
    let _ran = host.refused(&["does not exist", "aish up"]);
}

#[test]
fn bad_45_a_file_that_others_can_reach_is_not_read() {
    let host = Host::new();
    let chmod = format!("chmod 600 {}", host.file.display());
    for mode in [0o644, 0o640, 0o660, 0o604] {
        fs::set_permissions(&host.file, fs::Permissions::from_mode(mode)).unwrap();
        let _ran = host.refused(&[&chmod, &format!("{mode:04o}")]);
    }
    host.write("not read at all");
    let directory = host.file.parent().unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
    let _ran = host.refused(&["0777", &chmod]);
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(&host.file, Some(65534), None).unwrap();
        let _ran = host.refused(&["user id 65534", &chmod]);
    }
    fs::remove_file(&host.file).unwrap();
    fs::create_dir(&host.file).unwrap();
    let _ran = host.refused(&["not a regular file"]);
}

#[test]
fn bad_46_tokens_that_no_issuer_made() {
    let host = Host::new();
    let good = host.good.lines().nth(1).unwrap().to_owned();
    let claims = URL_SAFE_NO_PAD.decode(good.split('.').nth(1).unwrap()).unwrap();
    let ours = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    for alg in ["none", "RS256", "HS256", ""] {
        host.refuses(&host.with(&host.token(&json!({"typ": "JWT", "alg": alg}), &claims)), &["claim alg"]);
    }
    let unsigned = good.rsplit_once('.').unwrap().0;
    let none = URL_SAFE_NO_PAD.encode("{\"typ\":\"JWT\",\"alg\":\"none\"}");
    host.refuses(&host.with(&format!("{none}.{}.", good.split('.').nth(1).unwrap())), &["claim alg"]);
    host.refuses(&host.with(&format!("{good}.x")), &["4 parts"]);
    host.refuses(&host.with(&format!("{good}.{good}")), &["6 parts"]);
    host.refuses(&host.with(unsigned), &["2 parts"]);
    host.refuses(&host.with(&"e".repeat(1024 * 1024)), &["1048576 bytes long"]);
    for claims in [&b"hello"[..], b"[]", b"{\"name\": 1}", b"{", &[0xff; 40]] {
        host.refuses(&host.with(&host.token(&ours, claims)), &["claims", "JSON"]);
    }
    host.refuses(&host.with(&host.claims("*").encode(&host.signer).unwrap()), &["claim name"]);
    let stranger = Key::generate(Kind::Account).unwrap();
    host.refuses(&host.with(&host.claims("vera").encode(&stranger).unwrap()), &["claim iss"]);
    let keys = MeshKeys::create(&host.mesh.path().join("other"), &MeshName::parse("main").unwrap()).unwrap();
    let vera = UserName::parse("vera").unwrap();
    let foreign = keys.issue(&vera, Role::Admin, host.user.public(), LIFETIME).unwrap();
    host.refuses(&host.with(&foreign), &["claim iss"]);
    let mut altered: Value = serde_json::from_slice(&claims).unwrap();
    altered["name"] = "adam".into();
    let parts: Vec<&str> = good.split('.').collect();
    let altered = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(altered.to_string()), parts[2]);
    host.refuses(&host.with(&altered), &["signature"]);
}

#[test]
fn bad_47_credentials_out_of_their_time() {
    let host = Host::new();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let mut claims = host.claims("vera");
    claims.exp = Some(1_000_000_100);
    host.write(&host.with(&claims.encode(&host.signer).unwrap()));
    let expired = host.refused(&["vera", "claim exp", "2001-09-09T01:48:20Z", "clock"]);
    let mut claims = host.claims("vera");
    claims.nbf = Some(4_102_444_800);
    assert!(claims.nbf > Some(now));
    host.write(&host.with(&claims.encode(&host.signer).unwrap()));
    let early = host.refused(&["vera", "claim nbf", "2100-01-01T00:00:00Z", "clock"]);
    for ran in [expired, early] {
        let instants = ran.stderr.split_whitespace().filter(|word| word.contains('T') && word.contains("Z")).count();
        assert!(instants >= 2, "both instants: {ran:?}");
    }
}
