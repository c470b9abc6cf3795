use super::*;
use crate::{golden, layer::Kind};

fn settings() -> Settings {
    Settings {
        platform: Platform::Amd64,
        epoch: 315_532_800,
        env: [("HOME", "/tmp"), ("PORT", "8080")].map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        argv: vec!["/app/run.sh".to_owned()],
        user: "10001:10001".to_owned(),
        directory: "/app".to_owned(),
        ports: vec![8080],
        labels: BTreeMap::new(),
        health: None,
    }
}

fn layer(hex: &str, kind: Kind) -> Layer {
    let application = (kind != Kind::Base).then(|| "hello".to_owned());
    Layer { digest: format!("sha256:{hex}").parse().unwrap(), size_bytes: 8_704, kind, application }
}

#[test]
fn pkg_32_the_image_and_the_package_of_the_golden_project() {
    let files = layer("863504307e6f8b3829c43c022d30c6f51545422f0e60072e1ed69e74d5e0e37d", Kind::Files);
    let image = Image::of(&settings(), None, &[Layer { size_bytes: golden::LAYER_BYTES, ..files }]).unwrap();
    let hex = |bytes: &[u8]| Digest::of(bytes).hex();
    assert_eq!(hex(&image.config), "9b1b0bd7d1aeb6623a8ce049751391878e748e927d4a772e37f5877ba40924a5");
    assert_eq!(hex(&image.manifest), "07c926b1d365e8c367183db56acad7f8e7d209b38f3c187797e38156f8da3b39");
    let manifest = canonical(&serde_json::from_str(golden::MANIFEST).unwrap());
    let lock = canonical(&json!({"lock_version": 1, "bases": {}, "system_packages": {}}));
    let document = document(&manifest, &lock);
    assert_eq!(hex(&document), "49e7c36ec3510d9fd9fc0c492e326ff0bdc7bf6660cd92200a6e0c615c8cc517");
    let index = index("golden", &document, &[("hello", Platform::Amd64, &image)]);
    assert_eq!(hex(&index), "4ae8dd081b62c37ffaf9ad6bea31f5519f51e0eee2b7919e2183dc2198e76142");
}

#[test]
fn what_the_base_says_stays_where_nothing_is_said_over_it() {
    let config = json!({
        "variant": "v8", "history": [{"created_by": "base", "empty_layer": true}],
        "config": {
            "Env": ["PATH=/own", "PORT=1", "LANG=C"], "Labels": {"a": "1", "b": "2"}, "ExposedPorts": {"1/tcp": {}},
            "Volumes": {"/data": {}}, "StopSignal": "SIGQUIT", "Entrypoint": ["/entry"], "Cmd": ["x"],
        },
    });
    let below = layer(&"0".repeat(64), Kind::Base);
    let base = Base { digest: Digest::of(b""), config, layers: vec![below] };
    let health = Health { argv: vec!["true".to_owned()], interval_s: 10, timeout_s: 3, start_s: 20, retries: 3 };
    let labels = [("b".to_owned(), "3".to_owned())].into();
    let settings = Settings { platform: Platform::Arm64, labels, health: Some(health), ..settings() };
    let above = layer(&"1".repeat(64), Kind::Install);
    let image = Image::of(&settings, Some(&base), std::slice::from_ref(&above)).unwrap();
    let config: Value = serde_json::from_slice(&image.config).unwrap();
    assert_eq!(config["architecture"], "arm64");
    assert_eq!((config["variant"].as_str(), image.variant.as_deref()), (Some("v8"), Some("v8")));
    assert_eq!(config["history"][0], json!({"created_by": "base", "empty_layer": true}));
    assert_eq!(config["history"][1]["created_by"], "aigis install hello");
    assert_eq!(config["rootfs"]["diff_ids"], json!([base.layers[0].digest, above.digest]));
    let config = &config["config"];
    assert_eq!(config["Env"], json!(["PATH=/own", "PORT=8080", "LANG=C", "HOME=/tmp"]));
    assert_eq!(config["Labels"], json!({"a": "1", "b": "3"}));
    assert_eq!(config["ExposedPorts"], json!({"1/tcp": {}, "8080/tcp": {}}));
    assert_eq!((&config["Volumes"], &config["StopSignal"]), (&json!({"/data": {}}), &json!("SIGQUIT")));
    assert_eq!((config.get("Entrypoint"), &config["Cmd"]), (None, &json!(["/app/run.sh"])));
    assert_eq!(config["Healthcheck"]["Interval"], 10_000_000_000_u64);
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "true"]));
}

#[test]
fn pkg_54_platforms_are_read_and_others_named() {
    assert_eq!("linux/arm64".parse::<Platform>().unwrap(), Platform::Arm64);
    assert!("linux/riscv64".parse::<Platform>().unwrap_err().message.contains("linux/riscv64"));
    assert!(Image::of(&Settings { epoch: u64::MAX, ..settings() }, None, &[]).is_err());
}
