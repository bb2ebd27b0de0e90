//! Where calls go, and when they come.

use hearth_api::{
    Alias, AliasList, Function, FunctionSettings, MissedRuns, PutAlias, PutTrigger, Rollback, TrafficShare, Trigger,
    TriggerList,
};
use hearth_client::Client;
use http::Method;

use super::{function_path, look::shares};
use crate::{
    args::{SettingsArgs, TriggerArgs},
    commands::machine::Removed,
    output::{ago, print_json, print_line, print_table},
};

pub(super) async fn aliases(client: &Client, function: &str, json: bool) -> anyhow::Result<u8> {
    let list: AliasList = client.get(&function_path(function, &["aliases"])).await?;
    if json {
        print_json(&list.aliases)?;
        return Ok(0);
    }
    let rows: Vec<[String; 4]> = list
        .aliases
        .iter()
        .map(|alias| {
            [
                alias.name.clone(),
                shares(&alias.traffic),
                ago(alias.updated_at),
                alias.description.clone(),
            ]
        })
        .collect();
    print_table(["ALIAS", "LEADS TO", "CHANGED", "DESCRIPTION"], &rows);
    Ok(0)
}

pub(super) async fn set(
    client: &Client,
    function: &str,
    alias: &str,
    traffic: Vec<TrafficShare>,
    json: bool,
) -> anyhow::Result<u8> {
    let wanted = PutAlias {
        traffic,
        description: None,
    };
    let alias = client
        .send_json(Method::PUT, &function_path(function, &["aliases", alias]), &wanted)
        .await?;
    tell(&alias, json)
}

pub(super) async fn rollback(client: &Client, function: &str, version: Option<u32>, json: bool) -> anyhow::Result<u8> {
    let path = function_path(function, &["rollback"]);
    let alias = client.post_json(&path, &Rollback { version }).await?;
    tell(&alias, json)
}

fn tell(alias: &Alias, json: bool) -> anyhow::Result<u8> {
    if json {
        print_json(alias)?;
    } else {
        print_line(format!("{} leads to version {}", alias.name, shares(&alias.traffic)));
    }
    Ok(0)
}

pub(super) async fn rm_alias(client: &Client, function: &str, alias: &str, json: bool) -> anyhow::Result<u8> {
    client
        .act(Method::DELETE, &function_path(function, &["aliases", alias]))
        .await?;
    gone(alias, json)
}

fn gone(what: &str, json: bool) -> anyhow::Result<u8> {
    if json {
        print_json(&[Removed::of(what)])?;
    } else {
        print_line(what);
    }
    Ok(0)
}

pub(super) async fn config(client: &Client, function: &str, args: &SettingsArgs, json: bool) -> anyhow::Result<u8> {
    let settings = args.settings();
    let path = function_path(function, &[]);
    let function: Function = if settings == FunctionSettings::default() {
        client.get(&path).await?
    } else {
        client.send_json(Method::PATCH, &path, &settings).await?
    };
    if json {
        print_json(&function)?;
        return Ok(0);
    }
    let scale = function.scale;
    let idle = jiff::SignedDuration::from_millis(i64::try_from(scale.idle_ms).unwrap_or(i64::MAX));
    let idle = format!("{idle:#}");
    let rows = [
        ["access", if function.public { "public" } else { "key" }],
        ["min", &scale.min.to_string()],
        ["max", &scale.max.to_string()],
        ["concurrency", &scale.concurrency.to_string()],
        ["idle", &idle],
    ];
    print_table(["SETTING", "VALUE"], &rows.map(|row| row.map(str::to_owned)));
    Ok(0)
}

pub(super) async fn triggers(client: &Client, function: &str, json: bool) -> anyhow::Result<u8> {
    let list: TriggerList = client.get(&function_path(function, &["triggers"])).await?;
    if json {
        print_json(&list.triggers)?;
        return Ok(0);
    }
    let rows: Vec<[String; 5]> = list
        .triggers
        .iter()
        .map(|trigger| {
            [
                trigger.name.clone(),
                trigger.spec.cron.clone(),
                trigger.spec.time_zone.clone().unwrap_or_else(|| "UTC".into()),
                trigger.last_at.map_or_else(|| "never".into(), ago),
                next(trigger),
            ]
        })
        .collect();
    print_table(["TRIGGER", "CRON", "TIME ZONE", "LAST", "NEXT"], &rows);
    Ok(0)
}

fn next(trigger: &Trigger) -> String {
    match trigger.next_at {
        Some(next) => next.to_string(),
        None if trigger.spec.disabled => "disabled".into(),
        None => "never".into(),
    }
}

pub(super) async fn set_trigger(client: &Client, args: TriggerArgs, json: bool) -> anyhow::Result<u8> {
    let wanted = PutTrigger {
        cron: args.cron,
        time_zone: args.time_zone,
        missed: if args.catch_up {
            MissedRuns::RunOnce
        } else {
            MissedRuns::Skip
        },
        qualifier: args.qualifier,
        payload: args.data,
        disabled: args.disabled,
    };
    let path = function_path(&args.function, &["triggers", &args.trigger]);
    let trigger: Trigger = client.send_json(Method::PUT, &path, &wanted).await?;
    if json {
        print_json(&trigger)?;
    } else {
        print_line(format!("{} runs next: {}", trigger.name, next(&trigger)));
    }
    Ok(0)
}

pub(super) async fn rm_trigger(client: &Client, function: &str, trigger: &str, json: bool) -> anyhow::Result<u8> {
    client
        .act(Method::DELETE, &function_path(function, &["triggers", trigger]))
        .await?;
    gone(trigger, json)
}
