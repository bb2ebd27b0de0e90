//! `sandbox` and `template`: from a Dockerfile to a shell.

use std::fs;

use hearth_e2e::{Host, PYTHON, Terminal, wait_for};

use crate::on_each_driver;

const DOCKERFILE: &str = r#"ARG FROM
FROM $FROM
ARG V=1
ENV GREETING="hi there"
WORKDIR /app
COPY --chmod=750 src/ ./src/
RUN test "$V" = 2 \
    && echo built > state
RUN python3 <<EOF
print('by python', end='', file=open('/app/py', 'w'))
EOF
EXPOSE 80
CMD ["sh", "-c", "echo started > /run/started; exec sleep 1000"]
"#;

/// A folder with a Dockerfile and what it copies.
fn app(host: &Host) -> String {
    let folder = host.folder().join("app");
    fs::create_dir_all(folder.join("src/lib")).unwrap();
    fs::write(folder.join("src/lib/a.txt"), "copied\n").unwrap();
    fs::write(folder.join("src/secret"), "kept here").unwrap();
    fs::write(folder.join(".dockerignore"), "**/secret\n").unwrap();
    fs::write(folder.join("Dockerfile"), DOCKERFILE).unwrap();
    folder.to_str().unwrap().to_owned()
}

fn build(host: &Host, folder: &str) {
    let from = format!("FROM={PYTHON}");
    let args = [
        &[
            "template",
            "build",
            "app",
            folder,
            "--build-arg",
            &from,
            "--build-arg",
            "V=2",
        ][..],
        &["--memory", "256m", "--cpus", "1", "--ready", "test -e /run/started"],
    ];
    let built = host.hearth(&args.concat());
    assert!(built.ok().starts_with("tpl"), "{built:?}");
}

#[test]
fn a_dockerfile_becomes_sandboxes() {
    on_each_driver(|host| {
        build(host, &app(host));
        let listed = host.hearth(&["--json", "template", "ls"]).json();
        assert_eq!(
            (&listed[0]["last_build"], &listed[0]["tags"][0]["tag"]),
            (&"ready".into(), &"default".into())
        );

        let id = host
            .hearth(&["sandbox", "create", "--metadata", "user=ada", "app"])
            .ok()
            .to_owned();
        let run = |script: &str| {
            host.hearth(&["sandbox", "exec", &id, "sh", "-c", script])
                .ok()
                .to_owned()
        };
        assert_eq!(
            run("cat /app/state /app/src/lib/a.txt /app/py /run/started"),
            "built\ncopied\nby pythonstarted"
        );
        assert_eq!(
            run("stat -c %a /app/src/lib/a.txt; pwd; echo $GREETING; ls /app/src"),
            "750\n/app\nhi there\nlib"
        );
        assert_eq!(run("grep -q sleep /proc/[0-9]*/comm && echo runs"), "runs");
        let failed = host.hearth(&["sandbox", "exec", &id, "sh", "-c", "exit 7"]);
        failed.failed(7, &[]);

        let rows = host
            .hearth(&["--json", "sandbox", "ls", "--metadata", "user=ada"])
            .json();
        assert_eq!(rows[0]["id"], id.as_str());
        assert_eq!(host.hearth(&["sandbox", "ls", "-q", "--state", "paused"]).ok(), "");

        let here = host.folder().join("here");
        fs::write(&here, "brought").unwrap();
        let there = here.to_str().unwrap();
        host.hearth(&["sandbox", "files", "put", &id, there, "/tmp/there"]).ok();
        assert_eq!(
            host.hearth(&["sandbox", "files", "cat", &id, "/tmp/there"]).ok(),
            "brought"
        );
        assert!(
            host.hearth(&["sandbox", "files", "ls", &id, "/tmp"])
                .ok()
                .contains("there")
        );
        let back = host.folder().join("back");
        host.hearth(&["sandbox", "files", "get", &id, "/tmp/there", back.to_str().unwrap()])
            .ok();
        assert_eq!(fs::read_to_string(&back).unwrap(), "brought");
        host.hearth(&["sandbox", "files", "rm", &id, "/tmp/there"]).ok();

        run("echo kept > /app/later");
        host.hearth(&["sandbox", "pause", &id]).ok();
        host.hearth(&["sandbox", "exec", &id, "true"]).failed(125, &["paused"]);
        host.hearth(&["sandbox", "pause", &id]).failed(1, &["paused already"]);
        let mut shell = Terminal::start(host.command(&["sandbox", "connect", &id]), 80, 24);
        shell.type_in("cat /app/later; exit 3\n");
        shell.expect("kept");
        assert_eq!(shell.wait(), 3);
        host.hearth(&["sandbox", "pause", "--no-memory", &id]).ok();
        host.hearth(&["sandbox", "resume", &id[..20]]).ok();
        assert_eq!(run("cat /app/later"), "kept");

        host.hearth(&["sandbox", "timeout", &id, "1s"]).ok();
        wait_for("the sandbox to end", || {
            host.hearth(&["sandbox", "ls", "-q"]).ok().is_empty().then_some(())
        });
        host.hearth(&["sandbox", "get", &id]).failed(1, &[&id]);
        host.hearth(&["template", "rm", "app"]).ok();
        host.hearth(&["sandbox", "create", "app"]).failed(1, &["no template"]);
    });
}

#[test]
fn a_build_that_fails_tells_where() {
    on_each_driver(|host| {
        let folder = host.folder().join("bad");
        fs::create_dir_all(&folder).unwrap();
        let text = format!("FROM {PYTHON}\nRUN echo going; echo to >&2; exit 4\n");
        fs::write(folder.join("Dockerfile"), text).unwrap();
        let args = ["template", "build", "bad", folder.to_str().unwrap(), "--memory", "256m"];
        host.hearth(&args).failed(1, &["going", "to", "step 1", "exit code 4"]);
        let log = host.hearth(&["template", "logs", "bad"]);
        assert!(log.ok().contains("going"), "{log:?}");
        fs::write(folder.join("Dockerfile"), "FROM a\nCOPY --from=0 x y\n").unwrap();
        host.hearth(&args).failed(1, &["line 2", "not before this one"]);
    });
}
