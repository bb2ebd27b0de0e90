//! Keys.

use hearth_api::{CreateKey, KeyList, NewKey, Role};
use hearth_client::{ApiPath, Client};
use http::Method;

use super::machine::{Removed, each};
use crate::{
    args::KeyCommand,
    output::{ago, note, print_json, print_line, print_table},
};

pub(crate) async fn dispatch(command: KeyCommand, client: &Client, json: bool) -> anyhow::Result<u8> {
    match command {
        KeyCommand::Create { role, name, expires } => {
            let request = CreateKey {
                role: role.into(),
                name,
                expires_in_s: expires,
            };
            create(client, &request, json).await
        }
        KeyCommand::Ls => ls(client, json).await,
        KeyCommand::Rm { keys } => {
            each(&keys, json, async |name| {
                let path = ApiPath::v1(&["keys", name]);
                client.act(Method::DELETE, &path).await.map(|()| Removed::of(name))
            })
            .await
        }
    }
}

async fn create(client: &Client, request: &CreateKey, json: bool) -> anyhow::Result<u8> {
    let made: NewKey = client.post_json(&ApiPath::v1(&["keys"]), request).await?;
    if json {
        print_json(&made)?;
        return Ok(0);
    }
    let key = &made.key;
    note(
        format_args!(
            "key {} may what a {} may in project {}; it is shown this once",
            key.name,
            word(key.role),
            key.project
        ),
        json,
    );
    note(
        format_args!(
            "AWS clients take AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={}",
            made.access_key_id, made.secret_access_key
        ),
        json,
    );
    print_line(&made.token);
    Ok(0)
}

async fn ls(client: &Client, json: bool) -> anyhow::Result<u8> {
    let list: KeyList = client.get(&ApiPath::v1(&["keys"])).await?;
    if json {
        print_json(&list.keys)?;
        return Ok(0);
    }
    let rows: Vec<[String; 5]> = list
        .keys
        .iter()
        .map(|key| {
            [
                key.id.to_string(),
                key.name.clone(),
                word(key.role).to_owned(),
                ago(key.created_at),
                key.expires_at.map_or_else(|| "never".to_owned(), |end| end.to_string()),
            ]
        })
        .collect();
    print_table(["ID", "NAME", "ROLE", "CREATED", "EXPIRES"], &rows);
    Ok(0)
}

fn word(role: Role) -> &'static str {
    hearth_domain::Role::from(role).as_str()
}
