//! A terminal for a program that wants one: nothing is echoed, and nothing that is written to it is a control key.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::fd::OwnedFd,
    sync::Arc,
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{InputModes, LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr},
};
use tokio::io::unix::AsyncFd;

/// Our end of a terminal.
#[derive(Debug, Clone)]
pub(crate) struct Terminal(Arc<AsyncFd<File>>);

impl Terminal {
    /// Makes a terminal: our end, and the program's.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub(crate) fn open() -> io::Result<(Self, File)> {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let path = name.to_str().map_err(|_| io::Error::other("the terminal has no usable name"))?;
        let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap_or_default();
        let slave = {
            use std::os::unix::fs::OpenOptionsExt as _;
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?
        };
        let mut modes = tcgetattr(&slave)?;
        modes.local_modes -= LocalModes::ECHO | LocalModes::ECHOE | LocalModes::ECHOK | LocalModes::ECHONL;
        // Lines are as long as they are, and no byte of a message is a key that interrupts.
        modes.local_modes -= LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
        modes.input_modes -= InputModes::IXON | InputModes::ICRNL;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&slave, OptionalActions::Now, &modes)?;
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        Ok((Self(Arc::new(watched(File::from(master))?)), slave))
    }

    /// Reads what came; 0 once the program's end is closed.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|file| file.get_ref().read(buffer)) {
                Ok(Err(error)) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => return Ok(0),
                Ok(read) => return read,
                Err(_) => {}
            }
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub(crate) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            if let Ok(written) = ready.try_io(|file| file.get_ref().write(bytes)) {
                bytes = bytes.get(written?..).unwrap_or_default();
            }
        }
        Ok(())
    }
}

#[expect(deprecated, reason = "what replaces it is unsafe; a file that is owned keeps to what that asks for")]
fn watched(master: File) -> io::Result<AsyncFd<File>> {
    AsyncFd::new(master)
}
