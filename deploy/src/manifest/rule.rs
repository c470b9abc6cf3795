//! The rules of texts: each is a type for the schema, and words for people.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! rules {
    ($($name:ident: $pattern:literal, $words:literal;)*) => {
        $(
            #[doc = $words]
            #[derive(Debug)]
            pub(super) struct $name;

            impl JsonSchema for $name {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({"type": "string", "pattern": $pattern})
                }
            }
        )*

        /// What a pattern asks for, in words.
        pub(super) fn words(pattern: &str) -> Option<&'static str> {
            match pattern {
                $($pattern => Some($words),)*
                _ => None,
            }
        }
    };
}

rules! {
    CiName: "^[a-z0-9][a-z0-9_-]{0,62}$", "a name is 1 to 63 of a-z 0-9 _ -, beginning with a letter or digit";
    SemanticVersion:
        r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$",
        "a semantic version is MAJOR.MINOR.PATCH, as 1.4.0 or 2.0.0-rc.1";
    Variable: r"^[^=\x00-\x20\x7f]+$", "a name of a variable or label has no =, white space or control character";
    Plain: r"^[^\x00]*$", "the text holds a NUL";
    SecretKey: "^[A-Za-z0-9._][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9._][A-Za-z0-9._-]{0,63}){0,7}$",
        "the key of a secret is of A-Z a-z 0-9 . _ -, with / between parts";
    Path: r"^[^\x00-\x1f\x7f]+$", "a path is not empty and has no control character";
    AbsolutePath: r"^/[^\x00-\x1f\x7f]*$", "a path in a container begins with / and has no control character";
    UrlPath: "^/[!-~]*$", "a path of HTTP begins with / and has no white space";
    ImageReference:
        r"^(scratch|container:[a-z0-9][a-z0-9_-]{0,62}|([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?)$",
        "an image is [HOST/]NAME[:TAG][@sha256:…], scratch, or container:NAME";
    DebianPackage: r"^[a-z0-9][a-z0-9+.-]+$", "a package of Debian is of a-z 0-9 + - .";
    User: "^[0-9]{1,10}:[0-9]{1,10}$", "a user is UID:GID in digits, as 10001:10001";
    PortKey: "^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$", "the key is a port of the container, from 1 to 65535";
    Published: r"^(([0-9]{1,3}\.){3}[0-9]{1,3}:|\[[0-9A-Fa-f:.]+\]:)?([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$",
        "a port of the host is [ADDRESS:]PORT, as 8080 or 127.0.0.1:8080";
    NodeLabel: r"^[^=\s]+=[^\s]+$", "a label of nodes is KEY=VALUE";
    Registry: r"^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$",
        "a registry is HOST/PATH, as docker.io/acme";
    Tag: "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", "a tag is 1 to 128 of A-Z a-z 0-9 _ . -, beginning with no . or -";
    CommandLine: r"^[^\x00]*[^\x00\s][^\x00]*$", "a command is not empty";
}
