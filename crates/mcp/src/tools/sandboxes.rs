//! Sandboxes and templates themselves.

use std::collections::BTreeMap;

use hearth_api::{CreateSandbox, ListSandboxesQuery, OnTimeout, PauseSandbox, Sandbox, SandboxList, TemplateList};
use hearth_client::ApiPath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Effect, Offer};
use crate::{
    failure::Failure,
    session::{Session, checked},
};

/// How long a sandbox lasts that nobody uses, in seconds, unless it is said: an agent waits for people now and then.
const TIMEOUT_S: u32 = 1800;
/// The longest, in seconds: 31 days.
const TIMEOUT_MAX_S: u32 = 2_678_400;
/// Sandboxes or templates that are listed.
const LISTED_MAX: u32 = 100;

/// What an agent is told of a sandbox.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Seen {
    /// Its ID, by which all other tools find it.
    sandbox: String,
    /// Name or ID of the template that it was made of.
    template: String,
    /// `running`, `paused` (with its memory) or `stopped` (without).
    state: String,
    /// When it is gone or paused, unless it is used before (RFC 3339).
    ends_at: String,
    /// Virtual CPUs.
    cpus: u64,
    /// Memory in MiB.
    memory_mib: u64,
    /// What was pinned to it.
    metadata: BTreeMap<String, String>,
}

impl From<Sandbox> for Seen {
    fn from(sandbox: Sandbox) -> Self {
        Self {
            sandbox: sandbox.id.to_string(),
            template: sandbox.template_name.unwrap_or(sandbox.template),
            state: sandbox.state.to_string(),
            ends_at: sandbox.ends_at.to_string(),
            cpus: sandbox.resources.cpus,
            memory_mib: sandbox.resources.memory_mib,
            metadata: sandbox.metadata,
        }
    }
}

/// `sandbox_create`.
pub(super) struct Create;

/// What `sandbox_create` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateArgs {
    /// Template: a name or an ID as `template_list` gives them, or the name or ID of a snapshot of a sandbox; `base` if absent.
    #[serde(default)]
    template: Option<String>,
    /// Environment variables of all its commands.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Texts that are pinned to it, shown by `sandbox_list`.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    /// Seconds that it lasts after it was last used: 1 to 2678400; 1800 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 2_678_400))]
    timeout_s: Option<u32>,
    /// Whether it is paused with its memory when its time is over, rather than gone.
    #[serde(default)]
    pause_on_timeout: bool,
}

impl Offer for Create {
    type Args = CreateArgs;
    type Answer = Seen;
    const NAME: &'static str = "sandbox_create";
    const TITLE: &'static str = "Make a sandbox";
    const DESCRIPTION: &'static str = "Makes a sandbox: a virtual machine of its own, with its own kernel and disk, that commands can be run in \
        and that nothing on the host can be reached from. Gives its ID once it runs, which takes about a second. It is gone `timeout_s` seconds \
        after it was last used by a tool, and may be gone when this session ends; copy out what is to stay. Make one and use it for all that \
        belongs together.";
    const EFFECT: Effect = Effect::Changes;

    async fn call(session: &Session, args: CreateArgs) -> Result<Seen, Failure> {
        let timeout_s = args.timeout_s.unwrap_or(TIMEOUT_S);
        if !(1..=TIMEOUT_MAX_S).contains(&timeout_s) {
            let way_out = format!("write 1 to {TIMEOUT_MAX_S}");
            return Err(Failure::field("timeout_s", timeout_s, way_out));
        }
        let request = CreateSandbox {
            template: args.template.unwrap_or_else(|| "base".to_owned()),
            env: args.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            metadata: args.metadata,
            timeout_s: Some(timeout_s.into()),
            on_timeout: if args.pause_on_timeout {
                OnTimeout::Pause
            } else {
                OnTimeout::Kill
            },
            ..CreateSandbox::default()
        };
        session.create(request).await.map(Seen::from)
    }
}

/// What a tool takes that needs a sandbox and nothing else.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OneArgs {
    /// The sandbox's ID, as `sandbox_create` gave it.
    sandbox: String,
}

/// What a tool takes that needs nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoArgs {}

/// `sandbox_list`.
pub(super) struct List;

/// What `sandbox_list` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    /// The newest first.
    sandboxes: Vec<Seen>,
    /// How many there are; more than are listed if over 100.
    total: u64,
}

impl Offer for List {
    type Args = NoArgs;
    type Answer = Listed;
    const NAME: &'static str = "sandbox_list";
    const TITLE: &'static str = "List sandboxes";
    const DESCRIPTION: &'static str = "Lists the project's sandboxes, running and paused, the newest first, at most 100. Others may have made some of them.";
    const EFFECT: Effect = Effect::Reads;

    async fn call(session: &Session, _: NoArgs) -> Result<Listed, Failure> {
        let query = ListSandboxesQuery {
            limit: Some(LISTED_MAX),
            ..ListSandboxesQuery::default()
        };
        let page: SandboxList = session.get(&ApiPath::v1(&["sandboxes"]).query(&query)).await?;
        Ok(Listed {
            sandboxes: page.sandboxes.into_iter().map(Seen::from).collect(),
            total: page.total,
        })
    }
}

/// `sandbox_pause`.
pub(super) struct Pause;

impl Offer for Pause {
    type Args = OneArgs;
    type Answer = Seen;
    const NAME: &'static str = "sandbox_pause";
    const TITLE: &'static str = "Pause a sandbox";
    const DESCRIPTION: &'static str = "Pauses a sandbox with its memory and its processes, and keeps it until it is used again: every tool that \
        works in a sandbox resumes it. A paused one takes no memory of the host and does not end by itself.";
    const EFFECT: Effect = Effect::Changes;

    async fn call(session: &Session, args: OneArgs) -> Result<Seen, Failure> {
        let path = ["sandboxes", checked(&args.sandbox)?, "pause"];
        let paused: Sandbox = session.post(&path, &PauseSandbox::default()).await?;
        Ok(paused.into())
    }
}

/// `sandbox_kill`.
pub(super) struct Kill;

/// What `sandbox_kill` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Killed {
    /// Which is gone.
    killed: String,
}

impl Offer for Kill {
    type Args = OneArgs;
    type Answer = Killed;
    const NAME: &'static str = "sandbox_kill";
    const TITLE: &'static str = "Remove a sandbox";
    const DESCRIPTION: &'static str =
        "Ends a sandbox and removes everything in it, for good. Do it when you are done with one.";
    const EFFECT: Effect = Effect::Destroys;

    async fn call(session: &Session, args: OneArgs) -> Result<Killed, Failure> {
        session.kill(&args.sandbox).await?;
        Ok(Killed { killed: args.sandbox })
    }
}

/// `port_url`.
pub(super) struct Url;

/// What `port_url` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UrlArgs {
    /// The sandbox's ID, as `sandbox_create` gave it.
    sandbox: String,
    /// The port that something listens on in the sandbox: 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    port: u16,
}

/// What `port_url` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Place {
    /// Where the port is, for those who reach Hearth's gateway.
    url: String,
    /// Headers that a request needs, if any.
    headers: BTreeMap<String, String>,
}

impl Offer for Url {
    type Args = UrlArgs;
    type Answer = Place;
    const NAME: &'static str = "port_url";
    const TITLE: &'static str = "Address of a port";
    const DESCRIPTION: &'static str = "Gives the address at which a port of a sandbox is reached from outside, by HTTP. Nothing has to be \
        published; a server in the sandbox may listen on any address. Whether something listens is not looked at.";
    const EFFECT: Effect = Effect::Reads;

    async fn call(session: &Session, args: UrlArgs) -> Result<Place, Failure> {
        if args.port == 0 {
            return Err(Failure::field("port", 0, "write 1 to 65535"));
        }
        let sandbox: Sandbox = session
            .get(&ApiPath::v1(&["sandboxes", checked(&args.sandbox)?]))
            .await?;
        let url = sandbox.url.ok_or_else(|| {
            Failure::new("the daemon serves no ports of sandboxes; whoever runs it starts it with --gateway")
        })?;
        let token = sandbox.traffic_token.filter(|_| sandbox.private_traffic);
        Ok(Place {
            url: url.replacen("PORT", &args.port.to_string(), 1),
            headers: token
                .map(|token| ("E2b-Traffic-Access-Token".to_owned(), token))
                .into_iter()
                .collect(),
        })
    }
}

/// `template_list`.
pub(super) struct Templates;

/// What `template_list` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TemplatesListed {
    /// The templates.
    templates: Vec<TemplateSeen>,
}

/// What an agent is told of a template.
#[derive(Debug, Serialize, JsonSchema)]
struct TemplateSeen {
    /// Its ID.
    id: String,
    /// Its names.
    names: Vec<String>,
    /// Its tags, each written as NAME:TAG; `default` is meant where none is named.
    tags: Vec<String>,
}

impl Offer for Templates {
    type Args = NoArgs;
    type Answer = TemplatesListed;
    const NAME: &'static str = "template_list";
    const TITLE: &'static str = "List templates";
    const DESCRIPTION: &'static str = "Lists what sandboxes can be made of, at most 100 templates. `run_code` needs one of the code interpreter, usually `code-interpreter-v1`.";
    const EFFECT: Effect = Effect::Reads;

    async fn call(session: &Session, _: NoArgs) -> Result<TemplatesListed, Failure> {
        let page: TemplateList = session.get(&ApiPath::v1(&["templates"])).await?;
        let seen = page
            .templates
            .into_iter()
            .take(LISTED_MAX as usize)
            .map(|template| TemplateSeen {
                id: template.id.to_string(),
                names: template.names,
                tags: template.tags.into_iter().map(|tag| tag.tag).collect(),
            });
        Ok(TemplatesListed {
            templates: seen.collect(),
        })
    }
}
