//! Programs of plugins.

use super::*;

/// A program in a folder of its own.
fn launched(folder: &Path, name: &str, text: &str) -> (Start, Told) {
    let root = folder.join(name);
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("main.py"), text).unwrap();
    let start = Start { directory: root.clone(), ..start_in(folder, Some(name)) };
    (start, Told { launch: Some("main".into()), ..plugin(name, Type::InternalLocal, &root) })
}

struct Launched {
    program: Program,
    lines: Arc<Lines>,
    way: Arc<Mirror>,
    _folder: TempDir,
}

fn launch(text: &str) -> Launched {
    let folder = tempfile::tempdir().unwrap();
    let (start, plugin) = launched(folder.path(), "int1", text);
    let (lines, way) = (Arc::<Lines>::default(), Arc::<Mirror>::default());
    let leaves = vec!["cool.nolog".to_owned(), "cool.pid".to_owned()];
    let core = [Told { leaves, ..fx() }];
    let program = Program::launch(&start, &python(), &plugin, &core, way.clone(), lines.clone()).unwrap();
    Launched { program, lines, way, _folder: folder }
}

#[tokio::test]
async fn plg_36_a_program_is_launched_with_copies_and_calls_by_its_way() {
    let text = "import os, aigis\ndef launch(log):\n    log.info('up in %s', os.environ['COLOUR'])\n    \
                print(aigis.cool.pid() == os.getpid(), aigis.web.status(), os.environ['AIGIS_PLUGIN'])\n    raise SystemExit(5)\n";
    let launched = launch(text);
    launched.program.entered(LONG).await.unwrap();
    assert_eq!(launched.program.ended().await.code, Some(5));
    launched.lines.has("up in blue").await;
    assert_eq!(launched.lines.of(Source::Stdout), ["True web.status int1"]);
    assert_eq!(*launched.way.0.lock().unwrap(), ["web.status"]);
    let error = launched.program.invoke(invocation(None, "_ref.r00.text", "[]")).await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&false.into())));
}

#[tokio::test]
async fn a_program_without_launch_says_so_and_one_that_ends_before_is_told() {
    let launched = launch("x = 1\n");
    let error = launched.program.entered(LONG).await.unwrap_err();
    assert!(error.code == Code::FailedPrecondition && error.message.contains("no function launch"), "{error}");
    assert_eq!(launched.program.ended().await.code, Some(78));
    let launched = launch("raise ValueError('not today')\n");
    let error = launched.program.entered(LONG).await.unwrap_err();
    assert!(error.message.contains("ended with code 1"), "{error}");
    launched.lines.has("not today").await;
    let launched = launch("import time\ntime.sleep(600)\n");
    let error = launched.program.entered(Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    assert_eq!(launched.program.stop(Duration::from_secs(5)).await.signal, Some(15));
}

#[tokio::test]
async fn children_of_a_program_call_too_and_strangers_do_not() {
    let text = "import subprocess, sys, time\nCALL = 'import aigis; print(aigis.web.status())'\ndef launch():\n    \
                subprocess.run([sys.executable, '-c', CALL])\n    \
                strange = subprocess.run([sys.executable, '-c', CALL], start_new_session=True, capture_output=True, text=True)\n    \
                print('stranger', strange.returncode != 0, flush=True)\n    time.sleep(600)\n";
    let launched = launch(text);
    launched.program.entered(LONG).await.unwrap();
    launched.lines.has("stranger True").await;
    assert_eq!(launched.lines.of(Source::Stdout), ["web.status", "stranger True"]);
    launched.lines.has("outside the plugin's group was refused").await;
    assert!(launched.program.pid() > 1);
}

#[tokio::test]
async fn an_external_program_runs_and_may_call() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, way) = (Arc::<Lines>::default(), Arc::<Mirror>::default());
    let start = start_in(folder.path(), Some("ext1"));
    let script = "import sys; sys.path.insert(0, sys.argv[1]); import aigis; print(aigis.web.status())";
    let arguments = ["python3".into(), "-c".into(), script.into(), sdk().into_os_string()].to_vec();
    let program = Program::external(&start, arguments, way, lines.clone()).unwrap();
    program.entered(LONG).await.unwrap();
    assert_eq!(program.ended().await.code, Some(0));
    assert_eq!(lines.of(Source::Stdout), ["web.status"]);
    drop(program);
    let arguments = vec!["no-such-program".into()];
    let error = Program::external(&start, arguments, Arc::<Mirror>::default(), lines).unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
}

#[tokio::test]
async fn a_program_of_the_corpus_ends_by_its_own_handler() {
    let Some(plugin) = of_corpus("int4") else { return eprintln!("there is no corpus here: set AIGIS_CORPUS") };
    let folder = tempfile::tempdir().unwrap();
    let (lines, way) = (Arc::<Lines>::default(), Arc::<Mirror>::default());
    let start = start_in(folder.path(), Some("int4"));
    let program = Program::launch(&start, &python(), &plugin, &[], way, lines.clone()).unwrap();
    program.entered(LONG).await.unwrap();
    lines.has("INT4 up").await;
    assert_eq!(program.stop(LONG).await.code, Some(0));
    assert_eq!(lines.of(Source::Stdout), ["INT4 up", "INT4 got TERM"]);
}

#[tokio::test]
async fn bad_24_a_wrong_frame_closes_that_connection_alone_and_is_logged() {
    let text = "import os, socket, time, aigis\ndef launch():\n    peer = socket.socket(socket.AF_UNIX)\n    \
                peer.connect(os.environ['AIGIS_SOCKET'])\n    peer.sendall(b'\\xff' * 64)\n    \
                while peer.recv(65536): pass\n    print(aigis.web.status(), flush=True)\n    time.sleep(600)\n";
    let launched = launch(text);
    launched.program.entered(LONG).await.unwrap();
    launched.lines.has("web.status").await;
    launched.lines.has("the connection of the process was closed: the process sent a frame").await;
    assert_eq!(launched.lines.of(Source::Node).len(), 1);
}
