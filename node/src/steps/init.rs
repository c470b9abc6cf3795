//! How secrets become environment variables of a container without standing where the engine shows them: a program of ours
//! is the container's first; it takes them from a file that lies in memory, and becomes the image's own command.
//!
//! That program is made here, instruction by instruction, so that it needs nothing of the image: no shell, no library. The
//! file is laid out as the program maps it: where the environment begins, the paths at which the command may lie, the texts.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use aigis_proxy::Error;
use aigis_registry::dotenv;
use zeroize::{Zeroize as _, Zeroizing};

use super::folder::trouble;
use crate::{
    engine::{Bind, ImageConfig, Recipe},
    shelf::{self, Shelf},
};

/// Where the program maps the file.
const BASE: u64 = 0x1000_0000;
/// Where the program itself lies.
const AT: u64 = 0x40_0000;
/// The most variables that the image and the engine may give besides.
const SLOTS: usize = 4_001;
/// Where in [`CODE`] the length of the file stands.
const LENGTH: usize = 0x2b;
/// The image's usual path of programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What the program opens; it stands right after [`CODE`].
const FILE: &[u8] = b"/in/.env\0";
/// What it says if nothing can be run.
const WORDS: &[u8] = b"the command of the image cannot be run: there is no such program\n";

/// The program, for x86-64 alone: opens and maps the file at [`BASE`], appends its own environment to the variables there,
/// and tries each path of the command in turn (`execve`), its own second and later arguments being the command's.
#[rustfmt::skip]
const CODE: &[u8] = &[
    0x48, 0x89, 0xe3, 0xb8, 0x02, 0x00, 0x00, 0x00, 0x48, 0x8d, 0x3d, 0xbc, 0x00, 0x00, 0x00, 0x31,
    0xf6, 0x31, 0xd2, 0x0f, 0x05, 0x85, 0xc0, 0x0f, 0x88, 0x8a, 0x00, 0x00, 0x00, 0x41, 0x89, 0xc0,
    0xb8, 0x09, 0x00, 0x00, 0x00, 0xbf, 0x00, 0x00, 0x00, 0x10, 0xbe, 0x44, 0x33, 0x22, 0x11, 0xba,
    0x03, 0x00, 0x00, 0x00, 0x41, 0xba, 0x12, 0x00, 0x00, 0x00, 0x45, 0x31, 0xc9, 0x0f, 0x05, 0x48,
    0x85, 0xc0, 0x78, 0x63, 0xb8, 0x03, 0x00, 0x00, 0x00, 0x44, 0x89, 0xc7, 0x0f, 0x05, 0x48, 0x8b,
    0x0b, 0x48, 0x8d, 0x73, 0x10, 0x4c, 0x8d, 0x64, 0xcb, 0x10, 0x41, 0xbf, 0x00, 0x00, 0x00, 0x10,
    0x49, 0x8b, 0x3f, 0x4d, 0x8b, 0x6f, 0x08, 0x4d, 0x8b, 0x77, 0x10, 0xb9, 0xa0, 0x0f, 0x00, 0x00,
    0x49, 0x8b, 0x04, 0x24, 0x48, 0x89, 0x07, 0x49, 0x83, 0xc4, 0x08, 0x48, 0x83, 0xc7, 0x08, 0x48,
    0x85, 0xc0, 0x74, 0x0b, 0xff, 0xc9, 0x75, 0xe8, 0x48, 0xc7, 0x07, 0x00, 0x00, 0x00, 0x00, 0x49,
    0x8b, 0x3e, 0x48, 0x85, 0xff, 0x74, 0x10, 0x49, 0x83, 0xc6, 0x08, 0x4c, 0x89, 0xea, 0xb8, 0x3b,
    0x00, 0x00, 0x00, 0x0f, 0x05, 0xeb, 0xe8, 0xb8, 0x01, 0x00, 0x00, 0x00, 0xbf, 0x02, 0x00, 0x00,
    0x00, 0x48, 0x8d, 0x35, 0x1c, 0x00, 0x00, 0x00, 0xba, 0x41, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xb8,
    0x3c, 0x00, 0x00, 0x00, 0xbf, 0x7f, 0x00, 0x00, 0x00, 0x0f, 0x05,
];

/// Whether this host's processor knows the program.
const IS_KNOWN: bool = cfg!(target_arch = "x86_64");

/// Reads the variables of a secret that holds a dotenv text. Values are kept out of errors.
///
/// # Errors
///
/// The line that is no variable.
pub(crate) fn pairs(name: &str, text: &str) -> Result<BTreeMap<String, Zeroizing<String>>, Error> {
    let variables = dotenv::parse(Path::new(name), text).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(variables.into_iter().map(|(key, value)| (key, Zeroizing::new(value))).collect())
}

/// Has a container get secrets as environment variables. What it needs of memory is given back with the returned value.
pub(crate) fn wrap(
    recipe: &mut Recipe,
    image: &ImageConfig,
    secrets: &BTreeMap<String, Zeroizing<String>>,
    input: &Path,
) -> Result<Shelf, Error> {
    let shelf = Shelf::make().map_err(|error| Error::unavailable(aigis_proxy::with_causes(&error)))?;
    wrap_with(recipe, image, secrets, input, shelf.directory())?;
    Ok(shelf)
}

/// As [`wrap`], with the secrets in that directory, which is in memory.
pub(crate) fn wrap_with(
    recipe: &mut Recipe,
    image: &ImageConfig,
    secrets: &BTreeMap<String, Zeroizing<String>>,
    input: &Path,
    memory: &Path,
) -> Result<(), Error> {
    let words: Vec<String> = image.entrypoint.iter().chain(&image.cmd).cloned().collect();
    let program = words.first().cloned().unwrap_or_default();
    let put = |content: &[u8]| -> Result<(), Error> {
        shelf::put(memory, "env", content).map_err(|error| Error::unavailable(aigis_proxy::with_causes(&error)))?;
        let readable = fs::set_permissions(memory.join("env"), fs::Permissions::from_mode(0o444));
        readable.map_err(|error| trouble("secrets cannot be handed over", &error))
    };
    let place = || -> io::Result<()> {
        // Where the file in memory is to be seen, something must be.
        fs::write(input.join(".env"), b"")?;
        let mut program = fs::OpenOptions::new();
        let path = input.join(".init");
        let mut file = program.write(true).create(true).truncate(true).mode(0o755).open(&path)?;
        io::Write::write_all(&mut file, &[])?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
    };
    place().map_err(|error| trouble("the first program of a step cannot be put there", &error))?;
    let init = input.join(".init");
    if IS_KNOWN {
        let block = block(&program, image, secrets);
        put(&block)?;
        let length = u32::try_from(block.len()).map_err(|_| Error::invalid("the secrets are too long"))?;
        fs::write(&init, executable(length))
            .map_err(|error| trouble("the first program of a step cannot be written", &error))?;
        recipe.entrypoint = Some(vec!["/in/.init".to_owned()]);
        recipe.command = Some(words);
    } else {
        let mut script = Zeroizing::new(String::new());
        for (key, value) in secrets {
            script.push_str(&format!("export {key}='{}'\n", value.replace('\'', "'\\''")));
        }
        put(script.as_bytes())?;
        let begin = ["/bin/sh", "-c", ". /in/.env; exec \"$@\"", "aigis"].map(str::to_owned).to_vec();
        recipe.entrypoint = Some(begin);
        recipe.command = Some(words);
    }
    // One of the image under the same name must not come after.
    recipe.env.extend(secrets.keys().cloned());
    recipe.binds.push(Bind { source: memory.join("env"), target: "/in/.env".to_owned(), writable: false });
    Ok(())
}

/// The file that the program maps.
fn block(program: &str, image: &ImageConfig, secrets: &BTreeMap<String, Zeroizing<String>>) -> Zeroizing<Vec<u8>> {
    let path = image.env.iter().find_map(|line| line.strip_prefix("PATH=")).unwrap_or(PATH);
    let paths: Vec<String> = match program.contains('/') {
        true => vec![program.to_owned()],
        false => path.split(':').filter(|part| !part.is_empty()).map(|part| format!("{part}/{program}")).collect(),
    };
    let header = 3;
    let environment = header + paths.len() + 1;
    let free = environment + secrets.len();
    let texts = free + SLOTS + 1;
    let address = |word: usize| BASE + (word * 8) as u64;
    let mut words = vec![0_u64; texts];
    let mut bytes: Zeroizing<Vec<u8>> = Zeroizing::default();
    let mut put = |word: usize, text: &[u8]| {
        if let Some(slot) = words.get_mut(word) {
            *slot = address(texts) + bytes.len() as u64;
        }
        bytes.extend_from_slice(text);
        bytes.push(0);
    };
    paths.iter().enumerate().for_each(|(n, path)| put(header + n, path.as_bytes()));
    for (n, (key, value)) in secrets.iter().enumerate() {
        let mut line = format!("{key}={}", value.as_str());
        put(environment + n, line.as_bytes());
        line.zeroize();
    }
    for (slot, value) in words.iter_mut().zip([address(free), address(environment), address(header)]) {
        *slot = value;
    }
    let mut whole = Zeroizing::new(Vec::with_capacity(texts * 8 + bytes.len()));
    words.iter().for_each(|word| whole.extend_from_slice(&word.to_le_bytes()));
    whole.extend_from_slice(&bytes);
    whole
}

/// The program as an ELF file of one segment; `length` is that of the file that it maps.
fn executable(length: u32) -> Vec<u8> {
    let header: u64 = 64 + 56;
    let size = header + (CODE.len() + FILE.len() + WORDS.len()) as u64;
    let mut out = Vec::new();
    out.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // Executable, x86-64, version 1.
    out.extend_from_slice(&[2, 0, 0x3e, 0, 1, 0, 0, 0]);
    for word in [AT + header, 64, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    // One segment, loaded to be read and run.
    out.extend_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, AT, AT, size, size, 0x1000] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let (before, after) = CODE.split_at(LENGTH);
    out.extend_from_slice(before);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(after.get(4..).unwrap_or_default());
    out.extend_from_slice(FILE);
    out.extend_from_slice(WORDS);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named_without_its_value() {
        let found = pairs("app/x", "A=1\nexport B = two words # c\n").unwrap();
        assert_eq!([found["A"].as_str(), found["B"].as_str()], ["1", "two words"]);
        let error = pairs("app/x", "A=1\nNONCE").unwrap_err().message;
        assert!(error.starts_with("app/x:2:1: ") && !error.contains("NONCE"), "{error}");
    }

    #[test]
    fn the_length_stands_in_the_program() {
        assert_eq!(CODE[LENGTH..LENGTH + 4], [0x44, 0x33, 0x22, 0x11]);
        let made = executable(0x0102_0304);
        assert_eq!(made[120 + LENGTH..120 + LENGTH + 4], [4, 3, 2, 1]);
    }
}
