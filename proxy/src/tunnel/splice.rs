//! Joins two TCP connections without their bytes passing through this process: the kernel moves them by a pipe, with
//! [`splice(2)`](https://man7.org/linux/man-pages/man2/splice.2.html).

use std::{
    io,
    net::Shutdown,
    os::fd::{AsFd, OwnedFd},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::{io::Interest, net::TcpStream};

/// How many bytes are on their way in one direction at once.
const PIECE: usize = 256 * 1024;

/// Joins two connections until both directions have ended; the end of one is told on.
///
/// # Errors
///
/// What broke either of them.
pub(super) async fn join(a: &TcpStream, b: &TcpStream) -> io::Result<()> {
    tokio::try_join!(pass(a, b), pass(b, a)).map(drop)
}

/// Passes on what comes from one connection to another, until it ends.
async fn pass(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // A smaller one, if there are many already, does as well.
    let _ = fcntl_setpipe_size(&write, PIECE);
    loop {
        // The pipe is empty here, so that only the connection can have the next move wait.
        let mut held = from.async_io(Interest::READABLE, || moved(from, &write, PIECE)).await?;
        if held == 0 {
            return socket_end(to);
        }
        while held > 0 {
            held -= to.async_io(Interest::WRITABLE, || moved(&read, to, held)).await?;
        }
    }
}

fn moved(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    Ok(splice(from, None, to, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?)
}

/// Says at a connection that nothing more comes.
fn socket_end(to: &TcpStream) -> io::Result<()> {
    let socket: OwnedFd = to.as_fd().try_clone_to_owned()?;
    match std::net::TcpStream::from(socket).shutdown(Shutdown::Write) {
        // It has ended by itself.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        ended => ended,
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (there, here) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (there.unwrap(), here.unwrap().0)
    }

    #[tokio::test]
    async fn chn_39_bytes_and_ends_pass_in_each_direction_by_itself() {
        let ((mut client, a), (b, mut app)) = (pair().await, pair().await);
        let joined = crate::task::spawn("joined", async move { join(&a, &b).await });
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let (much, asked) = (sent.clone(), b"a question");
        client.write_all(asked).await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        app.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, asked, "its end came, and the other direction is open");
        let answering = crate::task::spawn("answering", async move { app.write_all(&much).await });
        heard.clear();
        client.read_to_end(&mut heard).await.unwrap();
        assert!(heard == sent, "{} of {} bytes came as they were sent", heard.len(), sent.len());
        answering.await.unwrap().unwrap();
        joined.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn chn_39_a_connection_that_breaks_breaks_the_other() {
        let ((client, a), (b, mut app)) = (pair().await, pair().await);
        let joined = crate::task::spawn("joined", async move { join(&a, &b).await });
        client.set_zero_linger().unwrap();
        drop(client);
        assert!(joined.await.unwrap().is_err());
        let mut rest = Vec::new();
        assert!(app.read_to_end(&mut rest).await.is_ok_and(|read| read == 0), "both were dropped here");
    }
}
