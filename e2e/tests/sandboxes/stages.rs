//! Dockerfiles of several stages: what comes into the template, and what a second build does again.

use std::fs;

use hearth_e2e::{BUSYBOX, Host, PYTHON, Ran};

use crate::shop::{clear, exec};

/// The stage `broken` is needed by nobody. The image of busybox has neither bash nor tar.
const DOCKERFILE: &str = r#"ARG FROM
FROM $FROM AS base
ENV GREETING=hello
WORKDIR /src

FROM base AS build
ARG V
COPY src/ ./
RUN mkdir -p /out/lib && ln -s /out /way \
    && cp main.txt /out/app && echo "$GREETING $V" >> /out/app \
    && ln -s app /out/link && ln -s /out/app /out/absolute \
    && echo library > /out/lib/a.so.1 && ln -s a.so.1 /out/lib/a.so \
    && truncate -s 5M /out/lib/holes \
    && chown -R 1234:1234 /out && chmod 4750 /out/app && chmod 700 /out

FROM base AS broken
RUN exit 9

FROM $FROM
RUN mkdir /opt/lib && echo mine > /opt/mine && ln -s /etc/hostname /opt/link
USER nobody
COPY --from=build /out/ /opt/
COPY --from=1 /way /via/
COPY --from=build --chown=1000:1000 /out/lib/a.so* /libs/
COPY --from=test/busybox:latest /bin/busybox /bin/cat /tools/
USER root
RUN /tools/cat /opt/app > /seen
"#;

fn build(host: &Host, more: &[&str]) -> Ran {
    let folder = host.folder().join("app");
    let from = format!("FROM={PYTHON}");
    let args = [
        &[
            "template",
            "build",
            "staged",
            folder.to_str().unwrap(),
            "--build-arg",
            &from,
        ][..],
        &[
            "--build-arg",
            "V=2",
            "--memory",
            "256m",
            "--cpus",
            "1",
            "--disk",
            "256m",
        ],
        more,
    ];
    host.hearth(&args.concat())
}

/// What a build says of a step that is carried out.
fn carried_out(ran: &Ran, step: &str) -> bool {
    ran.stderr
        .lines()
        .any(|line| line.contains(step) && !line.contains("CACHED"))
}

#[test]
fn what_stages_made_is_in_the_template_and_nothing_else() {
    let host = Host::start();
    let folder = host.folder().join("app");
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("src/main.txt"), "main\n").unwrap();
    fs::write(folder.join("Dockerfile"), DOCKERFILE).unwrap();
    let first = build(&host, &[]);
    first.ok();
    assert!(carried_out(&first, "[build 4/4] RUN"), "{first:?}");
    assert!(!first.stderr.contains("broken"), "{first:?}");

    let id = host.hearth(&["sandbox", "create", "staged"]).ok().to_owned();
    let run = |script: &str| exec(&host, &id, script);
    assert_eq!(run("cat /opt/app /seen"), "main\nhello 2\nmain\nhello 2");
    assert_eq!(
        run("stat -c '%a %u:%g' /opt/app /via/app /via /libs/a.so.1 /tools/cat"),
        "4750 0:0\n4750 0:0\n700 0:0\n644 1000:1000\n755 0:0"
    );
    assert_eq!(
        run("readlink /opt/link /opt/absolute /opt/lib/a.so /libs/a.so; stat -c %s /opt/lib/holes"),
        "app\n/out/app\na.so.1\na.so.1\n5242880"
    );
    assert_eq!(
        run("stat -c %a /opt; cat /opt/mine; ls -d /src /out /way 2>/dev/null; echo ${GREETING:-none}"),
        "755\nmine\nnone"
    );
    assert_eq!(run("ls -A /tmp /libs"), "/libs:\na.so\na.so.1\n\n/tmp:");
    host.hearth(&["sandbox", "kill", &id]).ok();

    let again = build(&host, &[]);
    again.ok();
    assert!(
        !carried_out(&again, "RUN") && !carried_out(&again, "copying"),
        "{again:?}"
    );
    // What the stage makes of it is the same.
    fs::write(folder.join("src/unused.txt"), "").unwrap();
    let same = build(&host, &[]);
    same.ok();
    assert!(carried_out(&same, "[build 4/4] RUN"), "{same:?}");
    assert!(!carried_out(&same, "/tools/cat /opt/app"), "{same:?}");

    let absent = DOCKERFILE.replace("/bin/cat", "/bin/none");
    fs::write(folder.join("Dockerfile"), absent).unwrap();
    build(&host, &[]).failed(1, &["/bin/none", "test/busybox:latest/finalize"]);
    build(&host, &["--target", "other"]).failed(1, &["other", "base, build, broken, 3"]);
    clear(&host, "stages");
}

/// A folder of which the smallest machines copy something from a stage. It cannot be built to its end: the image has no bash.
pub(crate) fn small(host: &Host) -> String {
    let folder = host.folder().join("small");
    fs::create_dir_all(&folder).unwrap();
    let text = format!("FROM {BUSYBOX} AS tool\nFROM {BUSYBOX}\nCOPY --from=tool /bin/busybox /tool\n");
    fs::write(folder.join("Dockerfile"), text).unwrap();
    folder.to_str().unwrap().to_owned()
}
