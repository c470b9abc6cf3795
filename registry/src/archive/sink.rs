//! Who takes the entries of a tree one by one: the writer of its archive, or whoever makes something else of them.

use std::io;

/// Takes the entries of a tree in the order of their bytes: a directory comes before what lies in it.
///
/// Two sinks as a pair take the same entries both.
pub trait Sink {
    /// Takes a directory.
    ///
    /// # Errors
    ///
    /// What keeps it from that, as with all of its functions.
    fn directory(&mut self, path: &str) -> io::Result<()>;

    /// Takes a link.
    ///
    /// # Errors
    ///
    /// As [`Sink::directory`].
    fn link(&mut self, path: &str, target: &str) -> io::Result<()>;

    /// Takes the head of a file of `size` bytes: they follow by [`Sink::content`], and then comes [`Sink::end_file`].
    ///
    /// # Errors
    ///
    /// As [`Sink::directory`].
    fn file(&mut self, path: &str, executable: bool, size: u64) -> io::Result<()>;

    /// Takes some of a file's bytes.
    ///
    /// # Errors
    ///
    /// As [`Sink::directory`].
    fn content(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Ends a file of `size` bytes.
    ///
    /// # Errors
    ///
    /// As [`Sink::directory`].
    fn end_file(&mut self, size: u64) -> io::Result<()>;
}

impl<A: Sink, B: Sink> Sink for (A, B) {
    fn directory(&mut self, path: &str) -> io::Result<()> {
        self.0.directory(path).and_then(|()| self.1.directory(path))
    }

    fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.0.link(path, target).and_then(|()| self.1.link(path, target))
    }

    fn file(&mut self, path: &str, executable: bool, size: u64) -> io::Result<()> {
        self.0.file(path, executable, size).and_then(|()| self.1.file(path, executable, size))
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.content(bytes).and_then(|()| self.1.content(bytes))
    }

    fn end_file(&mut self, size: u64) -> io::Result<()> {
        self.0.end_file(size).and_then(|()| self.1.end_file(size))
    }
}

/// A sink that never hears of directories in which no file or link lies.
#[derive(Debug)]
pub struct Filled<S> {
    sink: S,
    /// The directories down to where the tree stands, of which nothing was said yet.
    waiting: Vec<String>,
    entries: u64,
}

impl<S: Sink> Filled<S> {
    /// Stands before a sink.
    pub fn new(sink: S) -> Self {
        Self { sink, waiting: Vec::new(), entries: 0 }
    }

    /// How many entries were passed on.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The sink behind it.
    pub fn into_inner(self) -> S {
        self.sink
    }

    /// Passes on the directories that are above a path.
    fn reach(&mut self, path: &str) -> io::Result<()> {
        for directory in self.waiting.drain(..).filter(|directory| is_above(directory, path)) {
            self.entries += 1;
            self.sink.directory(&directory)?;
        }
        self.entries += 1;
        Ok(())
    }
}

impl<S: Sink> Sink for Filled<S> {
    fn directory(&mut self, path: &str) -> io::Result<()> {
        self.waiting.retain(|directory| is_above(directory, path));
        self.waiting.push(path.to_owned());
        Ok(())
    }

    fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.reach(path)?;
        self.sink.link(path, target)
    }

    fn file(&mut self, path: &str, executable: bool, size: u64) -> io::Result<()> {
        self.reach(path)?;
        self.sink.file(path, executable, size)
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.content(bytes)
    }

    fn end_file(&mut self, size: u64) -> io::Result<()> {
        self.sink.end_file(size)
    }
}

fn is_above(directory: &str, path: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Listed(Vec<String>);

    impl Sink for Listed {
        fn directory(&mut self, path: &str) -> io::Result<()> {
            self.0.push(format!("{path}/"));
            Ok(())
        }
        fn link(&mut self, path: &str, _: &str) -> io::Result<()> {
            self.0.push(path.to_owned());
            Ok(())
        }
        fn file(&mut self, path: &str, _: bool, _: u64) -> io::Result<()> {
            self.0.push(path.to_owned());
            Ok(())
        }
        fn content(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn end_file(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_directories_with_something_in_them_are_heard_of() {
        let mut sink = Filled::new(Listed::default());
        for path in ["a/", "a/b/", "a/b/c/", "a/b/f", "a/b/g/", "ab/", "ab/x/", "ab/x/l", "ab/y", "b/", "b/c/"] {
            match path.strip_suffix('/') {
                Some(path) => sink.directory(path).unwrap(),
                None => sink.file(path, false, 0).unwrap(),
            }
        }
        assert_eq!(sink.entries(), 7);
        assert_eq!(sink.into_inner().0, ["a/", "a/b/", "a/b/f", "ab/", "ab/x/", "ab/x/l", "ab/y"]);
    }
}
