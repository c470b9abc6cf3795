//! Users whose access ends while one of the three servers stands still.

use std::time::{Duration, Instant};

use aigis_tests::until;

use super::{LIVE, Server, until_live, until_spread};
use crate::{
    row::Run,
    scene::{HOSTS, Scene},
};

/// What is promised are 5 s; twice that on a machine that does much else.
const REVOKED: Duration = Duration::from_secs(10);

/// Ends a user while each of the servers in turn stands still: whoever asks is told so soon, and which server does not
/// know yet. While that of the issuer's own node does, nobody reaches the issuer until it has noticed.
pub(super) fn while_frozen(scene: &Scene, run: &mut Run) {
    let used = used(scene);
    let others = HOSTS.into_iter().filter(|host| *host != used);
    for host in others.chain([used.as_str()]) {
        let alpha = scene.on("alpha");
        let victim = format!("victim-{}", aigis_tests::nonce());
        let file = alpha.user(&victim, "viewer");
        let still = Server::on(scene, host).freeze();
        let begun = Instant::now();
        let revoke = || alpha.aish(["users", "revoke", &victim]);
        let revoked = if host == used {
            let late = revoke().failed(75);
            run.took("given up, the issuer's own server frozen", late.took);
            let revoked = until("the user is revoked", LIVE, || Some(revoke()).filter(|ran| ran.code != 75));
            run.took("revoked by then", begun.elapsed());
            revoked
        } else {
            let revoked = revoke();
            run.took("revoked, another server frozen", revoked.took);
            assert!(revoked.took <= REVOKED, "{host} frozen: {revoked:?}");
            revoked
        };
        assert!(revoked.code == 1 && revoked.stdout.contains("was revoked"), "{host} frozen: {revoked:?}");
        assert!(revoked.stderr.contains(&format!("server of {host} ")), "{host} frozen: {revoked:?}");
        drop(still);
        until("nobody lets the user in", LIVE, || (alpha.aish(["--creds", &file, "list"]).code == 77).then_some(()));
        until_live(scene, Instant::now());
        until_spread(scene);
    }
}

/// The host whose server the issuer's node uses.
fn used(scene: &Scene) -> String {
    let status = scene.on("alpha").aish(["call", "alpha.status", "--json"]).good().json();
    let server = status["bus"]["server"].as_str().unwrap_or_default();
    let host = server.trim_start_matches("main-").to_owned();
    assert!(HOSTS.contains(&host.as_str()), "no server of the bus: {status}");
    host
}
