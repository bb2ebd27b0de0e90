impl serde::Serialize for ExitKind {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::Unspecified => "EXIT_KIND_UNSPECIFIED",
            Self::Exited => "EXIT_KIND_EXITED",
            Self::Signaled => "EXIT_KIND_SIGNALED",
            Self::NotFound => "EXIT_KIND_NOT_FOUND",
            Self::NotExecutable => "EXIT_KIND_NOT_EXECUTABLE",
            Self::BadUser => "EXIT_KIND_BAD_USER",
            Self::BadCwd => "EXIT_KIND_BAD_CWD",
            Self::Internal => "EXIT_KIND_INTERNAL",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for ExitKind {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "EXIT_KIND_UNSPECIFIED",
            "EXIT_KIND_EXITED",
            "EXIT_KIND_SIGNALED",
            "EXIT_KIND_NOT_FOUND",
            "EXIT_KIND_NOT_EXECUTABLE",
            "EXIT_KIND_BAD_USER",
            "EXIT_KIND_BAD_CWD",
            "EXIT_KIND_INTERNAL",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = ExitKind;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "EXIT_KIND_UNSPECIFIED" => Ok(ExitKind::Unspecified),
                    "EXIT_KIND_EXITED" => Ok(ExitKind::Exited),
                    "EXIT_KIND_SIGNALED" => Ok(ExitKind::Signaled),
                    "EXIT_KIND_NOT_FOUND" => Ok(ExitKind::NotFound),
                    "EXIT_KIND_NOT_EXECUTABLE" => Ok(ExitKind::NotExecutable),
                    "EXIT_KIND_BAD_USER" => Ok(ExitKind::BadUser),
                    "EXIT_KIND_BAD_CWD" => Ok(ExitKind::BadCwd),
                    "EXIT_KIND_INTERNAL" => Ok(ExitKind::Internal),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for FollowRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.from_seq != 0 {
            len += 1;
        }
        if self.end_at_last {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.FollowRequest", len)?;
        if self.from_seq != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("fromSeq", ToString::to_string(&self.from_seq).as_str())?;
        }
        if self.end_at_last {
            struct_ser.serialize_field("endAtLast", &self.end_at_last)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for FollowRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "from_seq",
            "fromSeq",
            "end_at_last",
            "endAtLast",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            FromSeq,
            EndAtLast,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "fromSeq" | "from_seq" => Ok(GeneratedField::FromSeq),
                            "endAtLast" | "end_at_last" => Ok(GeneratedField::EndAtLast),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = FollowRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.FollowRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<FollowRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut from_seq__ = None;
                let mut end_at_last__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::FromSeq => {
                            if from_seq__.is_some() {
                                return Err(serde::de::Error::duplicate_field("fromSeq"));
                            }
                            from_seq__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::EndAtLast => {
                            if end_at_last__.is_some() {
                                return Err(serde::de::Error::duplicate_field("endAtLast"));
                            }
                            end_at_last__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(FollowRequest {
                    from_seq: from_seq__.unwrap_or_default(),
                    end_at_last: end_at_last__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.FollowRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for FreezeRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("hearth.guest.v1.FreezeRequest", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for FreezeRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Ok(GeneratedField::__SkipField__)
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = FreezeRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.FreezeRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<FreezeRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(FreezeRequest {
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.FreezeRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for FreezeResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("hearth.guest.v1.FreezeResponse", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for FreezeResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Ok(GeneratedField::__SkipField__)
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = FreezeResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.FreezeResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<FreezeResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(FreezeResponse {
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.FreezeResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for HostEntry {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.address.is_empty() {
            len += 1;
        }
        if !self.names.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.HostEntry", len)?;
        if !self.address.is_empty() {
            struct_ser.serialize_field("address", &self.address)?;
        }
        if !self.names.is_empty() {
            struct_ser.serialize_field("names", &self.names)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for HostEntry {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "address",
            "names",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Address,
            Names,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "address" => Ok(GeneratedField::Address),
                            "names" => Ok(GeneratedField::Names),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = HostEntry;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.HostEntry")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<HostEntry, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut address__ = None;
                let mut names__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Address => {
                            if address__.is_some() {
                                return Err(serde::de::Error::duplicate_field("address"));
                            }
                            address__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Names => {
                            if names__.is_some() {
                                return Err(serde::de::Error::duplicate_field("names"));
                            }
                            names__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(HostEntry {
                    address: address__.unwrap_or_default(),
                    names: names__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.HostEntry", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for InitRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.tokens.is_some() {
            len += 1;
        }
        if !self.hostname.is_empty() {
            len += 1;
        }
        if self.clock_unix_ns != 0 {
            len += 1;
        }
        if !self.entropy.is_empty() {
            len += 1;
        }
        if self.names.is_some() {
            len += 1;
        }
        if !self.env.is_empty() {
            len += 1;
        }
        if !self.default_user.is_empty() {
            len += 1;
        }
        if !self.default_cwd.is_empty() {
            len += 1;
        }
        if self.workload.is_some() {
            len += 1;
        }
        if self.limits.is_some() {
            len += 1;
        }
        if !self.secret_files.is_empty() {
            len += 1;
        }
        if self.restore.is_some() {
            len += 1;
        }
        if self.forward_local_ports {
            len += 1;
        }
        if self.volumes.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.InitRequest", len)?;
        if let Some(v) = self.tokens.as_ref() {
            struct_ser.serialize_field("tokens", v)?;
        }
        if !self.hostname.is_empty() {
            struct_ser.serialize_field("hostname", &self.hostname)?;
        }
        if self.clock_unix_ns != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("clockUnixNs", ToString::to_string(&self.clock_unix_ns).as_str())?;
        }
        if !self.entropy.is_empty() {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("entropy", pbjson::private::base64::encode(&self.entropy).as_str())?;
        }
        if let Some(v) = self.names.as_ref() {
            struct_ser.serialize_field("names", v)?;
        }
        if !self.env.is_empty() {
            struct_ser.serialize_field("env", &self.env)?;
        }
        if !self.default_user.is_empty() {
            struct_ser.serialize_field("defaultUser", &self.default_user)?;
        }
        if !self.default_cwd.is_empty() {
            struct_ser.serialize_field("defaultCwd", &self.default_cwd)?;
        }
        if let Some(v) = self.workload.as_ref() {
            struct_ser.serialize_field("workload", v)?;
        }
        if let Some(v) = self.limits.as_ref() {
            struct_ser.serialize_field("limits", v)?;
        }
        if !self.secret_files.is_empty() {
            struct_ser.serialize_field("secretFiles", &self.secret_files)?;
        }
        if let Some(v) = self.restore.as_ref() {
            struct_ser.serialize_field("restore", v)?;
        }
        if self.forward_local_ports {
            struct_ser.serialize_field("forwardLocalPorts", &self.forward_local_ports)?;
        }
        if let Some(v) = self.volumes.as_ref() {
            struct_ser.serialize_field("volumes", v)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for InitRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "tokens",
            "hostname",
            "clock_unix_ns",
            "clockUnixNs",
            "entropy",
            "names",
            "env",
            "default_user",
            "defaultUser",
            "default_cwd",
            "defaultCwd",
            "workload",
            "limits",
            "secret_files",
            "secretFiles",
            "restore",
            "forward_local_ports",
            "forwardLocalPorts",
            "volumes",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Tokens,
            Hostname,
            ClockUnixNs,
            Entropy,
            Names,
            Env,
            DefaultUser,
            DefaultCwd,
            Workload,
            Limits,
            SecretFiles,
            Restore,
            ForwardLocalPorts,
            Volumes,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "tokens" => Ok(GeneratedField::Tokens),
                            "hostname" => Ok(GeneratedField::Hostname),
                            "clockUnixNs" | "clock_unix_ns" => Ok(GeneratedField::ClockUnixNs),
                            "entropy" => Ok(GeneratedField::Entropy),
                            "names" => Ok(GeneratedField::Names),
                            "env" => Ok(GeneratedField::Env),
                            "defaultUser" | "default_user" => Ok(GeneratedField::DefaultUser),
                            "defaultCwd" | "default_cwd" => Ok(GeneratedField::DefaultCwd),
                            "workload" => Ok(GeneratedField::Workload),
                            "limits" => Ok(GeneratedField::Limits),
                            "secretFiles" | "secret_files" => Ok(GeneratedField::SecretFiles),
                            "restore" => Ok(GeneratedField::Restore),
                            "forwardLocalPorts" | "forward_local_ports" => Ok(GeneratedField::ForwardLocalPorts),
                            "volumes" => Ok(GeneratedField::Volumes),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = InitRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.InitRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<InitRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut tokens__ = None;
                let mut hostname__ = None;
                let mut clock_unix_ns__ = None;
                let mut entropy__ = None;
                let mut names__ = None;
                let mut env__ = None;
                let mut default_user__ = None;
                let mut default_cwd__ = None;
                let mut workload__ = None;
                let mut limits__ = None;
                let mut secret_files__ = None;
                let mut restore__ = None;
                let mut forward_local_ports__ = None;
                let mut volumes__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Tokens => {
                            if tokens__.is_some() {
                                return Err(serde::de::Error::duplicate_field("tokens"));
                            }
                            tokens__ = map_.next_value()?;
                        }
                        GeneratedField::Hostname => {
                            if hostname__.is_some() {
                                return Err(serde::de::Error::duplicate_field("hostname"));
                            }
                            hostname__ = Some(map_.next_value()?);
                        }
                        GeneratedField::ClockUnixNs => {
                            if clock_unix_ns__.is_some() {
                                return Err(serde::de::Error::duplicate_field("clockUnixNs"));
                            }
                            clock_unix_ns__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Entropy => {
                            if entropy__.is_some() {
                                return Err(serde::de::Error::duplicate_field("entropy"));
                            }
                            entropy__ = 
                                Some(map_.next_value::<::pbjson::private::BytesDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Names => {
                            if names__.is_some() {
                                return Err(serde::de::Error::duplicate_field("names"));
                            }
                            names__ = map_.next_value()?;
                        }
                        GeneratedField::Env => {
                            if env__.is_some() {
                                return Err(serde::de::Error::duplicate_field("env"));
                            }
                            env__ = Some(
                                map_.next_value::<std::collections::BTreeMap<_, _>>()?
                            );
                        }
                        GeneratedField::DefaultUser => {
                            if default_user__.is_some() {
                                return Err(serde::de::Error::duplicate_field("defaultUser"));
                            }
                            default_user__ = Some(map_.next_value()?);
                        }
                        GeneratedField::DefaultCwd => {
                            if default_cwd__.is_some() {
                                return Err(serde::de::Error::duplicate_field("defaultCwd"));
                            }
                            default_cwd__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Workload => {
                            if workload__.is_some() {
                                return Err(serde::de::Error::duplicate_field("workload"));
                            }
                            workload__ = map_.next_value()?;
                        }
                        GeneratedField::Limits => {
                            if limits__.is_some() {
                                return Err(serde::de::Error::duplicate_field("limits"));
                            }
                            limits__ = map_.next_value()?;
                        }
                        GeneratedField::SecretFiles => {
                            if secret_files__.is_some() {
                                return Err(serde::de::Error::duplicate_field("secretFiles"));
                            }
                            secret_files__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Restore => {
                            if restore__.is_some() {
                                return Err(serde::de::Error::duplicate_field("restore"));
                            }
                            restore__ = map_.next_value()?;
                        }
                        GeneratedField::ForwardLocalPorts => {
                            if forward_local_ports__.is_some() {
                                return Err(serde::de::Error::duplicate_field("forwardLocalPorts"));
                            }
                            forward_local_ports__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Volumes => {
                            if volumes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("volumes"));
                            }
                            volumes__ = map_.next_value()?;
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(InitRequest {
                    tokens: tokens__,
                    hostname: hostname__.unwrap_or_default(),
                    clock_unix_ns: clock_unix_ns__.unwrap_or_default(),
                    entropy: entropy__.unwrap_or_default(),
                    names: names__,
                    env: env__.unwrap_or_default(),
                    default_user: default_user__.unwrap_or_default(),
                    default_cwd: default_cwd__.unwrap_or_default(),
                    workload: workload__,
                    limits: limits__,
                    secret_files: secret_files__.unwrap_or_default(),
                    restore: restore__,
                    forward_local_ports: forward_local_ports__.unwrap_or_default(),
                    volumes: volumes__,
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.InitRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for InitResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.agent_version.is_empty() {
            len += 1;
        }
        if !self.kernel_release.is_empty() {
            len += 1;
        }
        if self.listening_ns != 0 {
            len += 1;
        }
        if self.root_ready_ns != 0 {
            len += 1;
        }
        if self.next_seq != 0 {
            len += 1;
        }
        if self.started {
            len += 1;
        }
        if self.held {
            len += 1;
        }
        if self.volumes != 0 {
            len += 1;
        }
        if self.volumes_gone {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.InitResponse", len)?;
        if !self.agent_version.is_empty() {
            struct_ser.serialize_field("agentVersion", &self.agent_version)?;
        }
        if !self.kernel_release.is_empty() {
            struct_ser.serialize_field("kernelRelease", &self.kernel_release)?;
        }
        if self.listening_ns != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("listeningNs", ToString::to_string(&self.listening_ns).as_str())?;
        }
        if self.root_ready_ns != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("rootReadyNs", ToString::to_string(&self.root_ready_ns).as_str())?;
        }
        if self.next_seq != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("nextSeq", ToString::to_string(&self.next_seq).as_str())?;
        }
        if self.started {
            struct_ser.serialize_field("started", &self.started)?;
        }
        if self.held {
            struct_ser.serialize_field("held", &self.held)?;
        }
        if self.volumes != 0 {
            struct_ser.serialize_field("volumes", &self.volumes)?;
        }
        if self.volumes_gone {
            struct_ser.serialize_field("volumesGone", &self.volumes_gone)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for InitResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "agent_version",
            "agentVersion",
            "kernel_release",
            "kernelRelease",
            "listening_ns",
            "listeningNs",
            "root_ready_ns",
            "rootReadyNs",
            "next_seq",
            "nextSeq",
            "started",
            "held",
            "volumes",
            "volumes_gone",
            "volumesGone",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            AgentVersion,
            KernelRelease,
            ListeningNs,
            RootReadyNs,
            NextSeq,
            Started,
            Held,
            Volumes,
            VolumesGone,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "agentVersion" | "agent_version" => Ok(GeneratedField::AgentVersion),
                            "kernelRelease" | "kernel_release" => Ok(GeneratedField::KernelRelease),
                            "listeningNs" | "listening_ns" => Ok(GeneratedField::ListeningNs),
                            "rootReadyNs" | "root_ready_ns" => Ok(GeneratedField::RootReadyNs),
                            "nextSeq" | "next_seq" => Ok(GeneratedField::NextSeq),
                            "started" => Ok(GeneratedField::Started),
                            "held" => Ok(GeneratedField::Held),
                            "volumes" => Ok(GeneratedField::Volumes),
                            "volumesGone" | "volumes_gone" => Ok(GeneratedField::VolumesGone),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = InitResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.InitResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<InitResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut agent_version__ = None;
                let mut kernel_release__ = None;
                let mut listening_ns__ = None;
                let mut root_ready_ns__ = None;
                let mut next_seq__ = None;
                let mut started__ = None;
                let mut held__ = None;
                let mut volumes__ = None;
                let mut volumes_gone__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::AgentVersion => {
                            if agent_version__.is_some() {
                                return Err(serde::de::Error::duplicate_field("agentVersion"));
                            }
                            agent_version__ = Some(map_.next_value()?);
                        }
                        GeneratedField::KernelRelease => {
                            if kernel_release__.is_some() {
                                return Err(serde::de::Error::duplicate_field("kernelRelease"));
                            }
                            kernel_release__ = Some(map_.next_value()?);
                        }
                        GeneratedField::ListeningNs => {
                            if listening_ns__.is_some() {
                                return Err(serde::de::Error::duplicate_field("listeningNs"));
                            }
                            listening_ns__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::RootReadyNs => {
                            if root_ready_ns__.is_some() {
                                return Err(serde::de::Error::duplicate_field("rootReadyNs"));
                            }
                            root_ready_ns__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::NextSeq => {
                            if next_seq__.is_some() {
                                return Err(serde::de::Error::duplicate_field("nextSeq"));
                            }
                            next_seq__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Started => {
                            if started__.is_some() {
                                return Err(serde::de::Error::duplicate_field("started"));
                            }
                            started__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Held => {
                            if held__.is_some() {
                                return Err(serde::de::Error::duplicate_field("held"));
                            }
                            held__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Volumes => {
                            if volumes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("volumes"));
                            }
                            volumes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::VolumesGone => {
                            if volumes_gone__.is_some() {
                                return Err(serde::de::Error::duplicate_field("volumesGone"));
                            }
                            volumes_gone__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(InitResponse {
                    agent_version: agent_version__.unwrap_or_default(),
                    kernel_release: kernel_release__.unwrap_or_default(),
                    listening_ns: listening_ns__.unwrap_or_default(),
                    root_ready_ns: root_ready_ns__.unwrap_or_default(),
                    next_seq: next_seq__.unwrap_or_default(),
                    started: started__.unwrap_or_default(),
                    held: held__.unwrap_or_default(),
                    volumes: volumes__.unwrap_or_default(),
                    volumes_gone: volumes_gone__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.InitResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Limits {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.log_bytes != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.Limits", len)?;
        if self.log_bytes != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("logBytes", ToString::to_string(&self.log_bytes).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Limits {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "log_bytes",
            "logBytes",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            LogBytes,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "logBytes" | "log_bytes" => Ok(GeneratedField::LogBytes),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Limits;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.Limits")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Limits, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut log_bytes__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::LogBytes => {
                            if log_bytes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("logBytes"));
                            }
                            log_bytes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(Limits {
                    log_bytes: log_bytes__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.Limits", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for MetricsRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("hearth.guest.v1.MetricsRequest", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for MetricsRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Ok(GeneratedField::__SkipField__)
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = MetricsRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.MetricsRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<MetricsRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(MetricsRequest {
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.MetricsRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for MetricsResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.unix_ns != 0 {
            len += 1;
        }
        if self.uptime_ns != 0 {
            len += 1;
        }
        if self.cpus != 0 {
            len += 1;
        }
        if self.cpu_usage_ns != 0 {
            len += 1;
        }
        if self.memory_total_bytes != 0 {
            len += 1;
        }
        if self.memory_used_bytes != 0 {
            len += 1;
        }
        if self.disk_total_bytes != 0 {
            len += 1;
        }
        if self.disk_used_bytes != 0 {
            len += 1;
        }
        if self.network_rx_bytes != 0 {
            len += 1;
        }
        if self.network_tx_bytes != 0 {
            len += 1;
        }
        if self.load1 != 0. {
            len += 1;
        }
        if self.processes != 0 {
            len += 1;
        }
        if self.oom_kills != 0 {
            len += 1;
        }
        if self.memory_cache_bytes != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.MetricsResponse", len)?;
        if self.unix_ns != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("unixNs", ToString::to_string(&self.unix_ns).as_str())?;
        }
        if self.uptime_ns != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("uptimeNs", ToString::to_string(&self.uptime_ns).as_str())?;
        }
        if self.cpus != 0 {
            struct_ser.serialize_field("cpus", &self.cpus)?;
        }
        if self.cpu_usage_ns != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("cpuUsageNs", ToString::to_string(&self.cpu_usage_ns).as_str())?;
        }
        if self.memory_total_bytes != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("memoryTotalBytes", ToString::to_string(&self.memory_total_bytes).as_str())?;
        }
        if self.memory_used_bytes != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("memoryUsedBytes", ToString::to_string(&self.memory_used_bytes).as_str())?;
        }
        if self.disk_total_bytes != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("diskTotalBytes", ToString::to_string(&self.disk_total_bytes).as_str())?;
        }
        if self.disk_used_bytes != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("diskUsedBytes", ToString::to_string(&self.disk_used_bytes).as_str())?;
        }
        if self.network_rx_bytes != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("networkRxBytes", ToString::to_string(&self.network_rx_bytes).as_str())?;
        }
        if self.network_tx_bytes != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("networkTxBytes", ToString::to_string(&self.network_tx_bytes).as_str())?;
        }
        if self.load1 != 0. {
            struct_ser.serialize_field("load1", &self.load1)?;
        }
        if self.processes != 0 {
            struct_ser.serialize_field("processes", &self.processes)?;
        }
        if self.oom_kills != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("oomKills", ToString::to_string(&self.oom_kills).as_str())?;
        }
        if self.memory_cache_bytes != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("memoryCacheBytes", ToString::to_string(&self.memory_cache_bytes).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for MetricsResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "unix_ns",
            "unixNs",
            "uptime_ns",
            "uptimeNs",
            "cpus",
            "cpu_usage_ns",
            "cpuUsageNs",
            "memory_total_bytes",
            "memoryTotalBytes",
            "memory_used_bytes",
            "memoryUsedBytes",
            "disk_total_bytes",
            "diskTotalBytes",
            "disk_used_bytes",
            "diskUsedBytes",
            "network_rx_bytes",
            "networkRxBytes",
            "network_tx_bytes",
            "networkTxBytes",
            "load1",
            "processes",
            "oom_kills",
            "oomKills",
            "memory_cache_bytes",
            "memoryCacheBytes",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            UnixNs,
            UptimeNs,
            Cpus,
            CpuUsageNs,
            MemoryTotalBytes,
            MemoryUsedBytes,
            DiskTotalBytes,
            DiskUsedBytes,
            NetworkRxBytes,
            NetworkTxBytes,
            Load1,
            Processes,
            OomKills,
            MemoryCacheBytes,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "unixNs" | "unix_ns" => Ok(GeneratedField::UnixNs),
                            "uptimeNs" | "uptime_ns" => Ok(GeneratedField::UptimeNs),
                            "cpus" => Ok(GeneratedField::Cpus),
                            "cpuUsageNs" | "cpu_usage_ns" => Ok(GeneratedField::CpuUsageNs),
                            "memoryTotalBytes" | "memory_total_bytes" => Ok(GeneratedField::MemoryTotalBytes),
                            "memoryUsedBytes" | "memory_used_bytes" => Ok(GeneratedField::MemoryUsedBytes),
                            "diskTotalBytes" | "disk_total_bytes" => Ok(GeneratedField::DiskTotalBytes),
                            "diskUsedBytes" | "disk_used_bytes" => Ok(GeneratedField::DiskUsedBytes),
                            "networkRxBytes" | "network_rx_bytes" => Ok(GeneratedField::NetworkRxBytes),
                            "networkTxBytes" | "network_tx_bytes" => Ok(GeneratedField::NetworkTxBytes),
                            "load1" => Ok(GeneratedField::Load1),
                            "processes" => Ok(GeneratedField::Processes),
                            "oomKills" | "oom_kills" => Ok(GeneratedField::OomKills),
                            "memoryCacheBytes" | "memory_cache_bytes" => Ok(GeneratedField::MemoryCacheBytes),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = MetricsResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.MetricsResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<MetricsResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut unix_ns__ = None;
                let mut uptime_ns__ = None;
                let mut cpus__ = None;
                let mut cpu_usage_ns__ = None;
                let mut memory_total_bytes__ = None;
                let mut memory_used_bytes__ = None;
                let mut disk_total_bytes__ = None;
                let mut disk_used_bytes__ = None;
                let mut network_rx_bytes__ = None;
                let mut network_tx_bytes__ = None;
                let mut load1__ = None;
                let mut processes__ = None;
                let mut oom_kills__ = None;
                let mut memory_cache_bytes__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::UnixNs => {
                            if unix_ns__.is_some() {
                                return Err(serde::de::Error::duplicate_field("unixNs"));
                            }
                            unix_ns__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::UptimeNs => {
                            if uptime_ns__.is_some() {
                                return Err(serde::de::Error::duplicate_field("uptimeNs"));
                            }
                            uptime_ns__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Cpus => {
                            if cpus__.is_some() {
                                return Err(serde::de::Error::duplicate_field("cpus"));
                            }
                            cpus__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::CpuUsageNs => {
                            if cpu_usage_ns__.is_some() {
                                return Err(serde::de::Error::duplicate_field("cpuUsageNs"));
                            }
                            cpu_usage_ns__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::MemoryTotalBytes => {
                            if memory_total_bytes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("memoryTotalBytes"));
                            }
                            memory_total_bytes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::MemoryUsedBytes => {
                            if memory_used_bytes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("memoryUsedBytes"));
                            }
                            memory_used_bytes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::DiskTotalBytes => {
                            if disk_total_bytes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("diskTotalBytes"));
                            }
                            disk_total_bytes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::DiskUsedBytes => {
                            if disk_used_bytes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("diskUsedBytes"));
                            }
                            disk_used_bytes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::NetworkRxBytes => {
                            if network_rx_bytes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("networkRxBytes"));
                            }
                            network_rx_bytes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::NetworkTxBytes => {
                            if network_tx_bytes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("networkTxBytes"));
                            }
                            network_tx_bytes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Load1 => {
                            if load1__.is_some() {
                                return Err(serde::de::Error::duplicate_field("load1"));
                            }
                            load1__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Processes => {
                            if processes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("processes"));
                            }
                            processes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::OomKills => {
                            if oom_kills__.is_some() {
                                return Err(serde::de::Error::duplicate_field("oomKills"));
                            }
                            oom_kills__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::MemoryCacheBytes => {
                            if memory_cache_bytes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("memoryCacheBytes"));
                            }
                            memory_cache_bytes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(MetricsResponse {
                    unix_ns: unix_ns__.unwrap_or_default(),
                    uptime_ns: uptime_ns__.unwrap_or_default(),
                    cpus: cpus__.unwrap_or_default(),
                    cpu_usage_ns: cpu_usage_ns__.unwrap_or_default(),
                    memory_total_bytes: memory_total_bytes__.unwrap_or_default(),
                    memory_used_bytes: memory_used_bytes__.unwrap_or_default(),
                    disk_total_bytes: disk_total_bytes__.unwrap_or_default(),
                    disk_used_bytes: disk_used_bytes__.unwrap_or_default(),
                    network_rx_bytes: network_rx_bytes__.unwrap_or_default(),
                    network_tx_bytes: network_tx_bytes__.unwrap_or_default(),
                    load1: load1__.unwrap_or_default(),
                    processes: processes__.unwrap_or_default(),
                    oom_kills: oom_kills__.unwrap_or_default(),
                    memory_cache_bytes: memory_cache_bytes__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.MetricsResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Names {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.nameservers.is_empty() {
            len += 1;
        }
        if !self.search.is_empty() {
            len += 1;
        }
        if !self.hosts.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.Names", len)?;
        if !self.nameservers.is_empty() {
            struct_ser.serialize_field("nameservers", &self.nameservers)?;
        }
        if !self.search.is_empty() {
            struct_ser.serialize_field("search", &self.search)?;
        }
        if !self.hosts.is_empty() {
            struct_ser.serialize_field("hosts", &self.hosts)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Names {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "nameservers",
            "search",
            "hosts",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Nameservers,
            Search,
            Hosts,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "nameservers" => Ok(GeneratedField::Nameservers),
                            "search" => Ok(GeneratedField::Search),
                            "hosts" => Ok(GeneratedField::Hosts),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Names;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.Names")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Names, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut nameservers__ = None;
                let mut search__ = None;
                let mut hosts__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Nameservers => {
                            if nameservers__.is_some() {
                                return Err(serde::de::Error::duplicate_field("nameservers"));
                            }
                            nameservers__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Search => {
                            if search__.is_some() {
                                return Err(serde::de::Error::duplicate_field("search"));
                            }
                            search__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Hosts => {
                            if hosts__.is_some() {
                                return Err(serde::de::Error::duplicate_field("hosts"));
                            }
                            hosts__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(Names {
                    nameservers: nameservers__.unwrap_or_default(),
                    search: search__.unwrap_or_default(),
                    hosts: hosts__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.Names", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for PrepareSnapshotRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.hold {
            len += 1;
        }
        if self.no_hooks {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.PrepareSnapshotRequest", len)?;
        if self.hold {
            struct_ser.serialize_field("hold", &self.hold)?;
        }
        if self.no_hooks {
            struct_ser.serialize_field("noHooks", &self.no_hooks)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for PrepareSnapshotRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "hold",
            "no_hooks",
            "noHooks",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Hold,
            NoHooks,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "hold" => Ok(GeneratedField::Hold),
                            "noHooks" | "no_hooks" => Ok(GeneratedField::NoHooks),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = PrepareSnapshotRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.PrepareSnapshotRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<PrepareSnapshotRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut hold__ = None;
                let mut no_hooks__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Hold => {
                            if hold__.is_some() {
                                return Err(serde::de::Error::duplicate_field("hold"));
                            }
                            hold__ = Some(map_.next_value()?);
                        }
                        GeneratedField::NoHooks => {
                            if no_hooks__.is_some() {
                                return Err(serde::de::Error::duplicate_field("noHooks"));
                            }
                            no_hooks__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(PrepareSnapshotRequest {
                    hold: hold__.unwrap_or_default(),
                    no_hooks: no_hooks__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.PrepareSnapshotRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for PrepareSnapshotResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.held {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.PrepareSnapshotResponse", len)?;
        if self.held {
            struct_ser.serialize_field("held", &self.held)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for PrepareSnapshotResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "held",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Held,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "held" => Ok(GeneratedField::Held),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = PrepareSnapshotResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.PrepareSnapshotResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<PrepareSnapshotResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut held__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Held => {
                            if held__.is_some() {
                                return Err(serde::de::Error::duplicate_field("held"));
                            }
                            held__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(PrepareSnapshotResponse {
                    held: held__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.PrepareSnapshotResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Record {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.seq != 0 {
            len += 1;
        }
        if self.unix_ns != 0 {
            len += 1;
        }
        if self.body.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.Record", len)?;
        if self.seq != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("seq", ToString::to_string(&self.seq).as_str())?;
        }
        if self.unix_ns != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("unixNs", ToString::to_string(&self.unix_ns).as_str())?;
        }
        if let Some(v) = self.body.as_ref() {
            match v {
                record::Body::Chunk(v) => {
                    struct_ser.serialize_field("chunk", v)?;
                }
                record::Body::Started(v) => {
                    struct_ser.serialize_field("started", v)?;
                }
                record::Body::Exited(v) => {
                    struct_ser.serialize_field("exited", v)?;
                }
                record::Body::Gap(v) => {
                    struct_ser.serialize_field("gap", v)?;
                }
                record::Body::Keepalive(v) => {
                    struct_ser.serialize_field("keepalive", v)?;
                }
            }
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Record {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "seq",
            "unix_ns",
            "unixNs",
            "chunk",
            "started",
            "exited",
            "gap",
            "keepalive",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Seq,
            UnixNs,
            Chunk,
            Started,
            Exited,
            Gap,
            Keepalive,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "seq" => Ok(GeneratedField::Seq),
                            "unixNs" | "unix_ns" => Ok(GeneratedField::UnixNs),
                            "chunk" => Ok(GeneratedField::Chunk),
                            "started" => Ok(GeneratedField::Started),
                            "exited" => Ok(GeneratedField::Exited),
                            "gap" => Ok(GeneratedField::Gap),
                            "keepalive" => Ok(GeneratedField::Keepalive),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Record;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.Record")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Record, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut seq__ = None;
                let mut unix_ns__ = None;
                let mut body__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Seq => {
                            if seq__.is_some() {
                                return Err(serde::de::Error::duplicate_field("seq"));
                            }
                            seq__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::UnixNs => {
                            if unix_ns__.is_some() {
                                return Err(serde::de::Error::duplicate_field("unixNs"));
                            }
                            unix_ns__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Chunk => {
                            if body__.is_some() {
                                return Err(serde::de::Error::duplicate_field("chunk"));
                            }
                            body__ = map_.next_value::<::std::option::Option<_>>()?.map(record::Body::Chunk)
;
                        }
                        GeneratedField::Started => {
                            if body__.is_some() {
                                return Err(serde::de::Error::duplicate_field("started"));
                            }
                            body__ = map_.next_value::<::std::option::Option<_>>()?.map(record::Body::Started)
;
                        }
                        GeneratedField::Exited => {
                            if body__.is_some() {
                                return Err(serde::de::Error::duplicate_field("exited"));
                            }
                            body__ = map_.next_value::<::std::option::Option<_>>()?.map(record::Body::Exited)
;
                        }
                        GeneratedField::Gap => {
                            if body__.is_some() {
                                return Err(serde::de::Error::duplicate_field("gap"));
                            }
                            body__ = map_.next_value::<::std::option::Option<_>>()?.map(record::Body::Gap)
;
                        }
                        GeneratedField::Keepalive => {
                            if body__.is_some() {
                                return Err(serde::de::Error::duplicate_field("keepalive"));
                            }
                            body__ = map_.next_value::<::std::option::Option<_>>()?.map(record::Body::Keepalive)
;
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(Record {
                    seq: seq__.unwrap_or_default(),
                    unix_ns: unix_ns__.unwrap_or_default(),
                    body: body__,
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.Record", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for record::Chunk {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.stream != 0 {
            len += 1;
        }
        if !self.data.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.Record.Chunk", len)?;
        if self.stream != 0 {
            let v = Stream::try_from(self.stream)
                .map_err(|_| serde::ser::Error::custom(format!("Invalid variant {}", self.stream)))?;
            struct_ser.serialize_field("stream", &v)?;
        }
        if !self.data.is_empty() {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("data", pbjson::private::base64::encode(&self.data).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for record::Chunk {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "stream",
            "data",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Stream,
            Data,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "stream" => Ok(GeneratedField::Stream),
                            "data" => Ok(GeneratedField::Data),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = record::Chunk;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.Record.Chunk")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<record::Chunk, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut stream__ = None;
                let mut data__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Stream => {
                            if stream__.is_some() {
                                return Err(serde::de::Error::duplicate_field("stream"));
                            }
                            stream__ = Some(map_.next_value::<Stream>()? as i32);
                        }
                        GeneratedField::Data => {
                            if data__.is_some() {
                                return Err(serde::de::Error::duplicate_field("data"));
                            }
                            data__ = 
                                Some(map_.next_value::<::pbjson::private::BytesDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(record::Chunk {
                    stream: stream__.unwrap_or_default(),
                    data: data__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.Record.Chunk", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for record::Exited {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.kind != 0 {
            len += 1;
        }
        if self.code != 0 {
            len += 1;
        }
        if self.signal != 0 {
            len += 1;
        }
        if self.oom {
            len += 1;
        }
        if !self.message.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.Record.Exited", len)?;
        if self.kind != 0 {
            let v = ExitKind::try_from(self.kind)
                .map_err(|_| serde::ser::Error::custom(format!("Invalid variant {}", self.kind)))?;
            struct_ser.serialize_field("kind", &v)?;
        }
        if self.code != 0 {
            struct_ser.serialize_field("code", &self.code)?;
        }
        if self.signal != 0 {
            struct_ser.serialize_field("signal", &self.signal)?;
        }
        if self.oom {
            struct_ser.serialize_field("oom", &self.oom)?;
        }
        if !self.message.is_empty() {
            struct_ser.serialize_field("message", &self.message)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for record::Exited {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "kind",
            "code",
            "signal",
            "oom",
            "message",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Kind,
            Code,
            Signal,
            Oom,
            Message,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "kind" => Ok(GeneratedField::Kind),
                            "code" => Ok(GeneratedField::Code),
                            "signal" => Ok(GeneratedField::Signal),
                            "oom" => Ok(GeneratedField::Oom),
                            "message" => Ok(GeneratedField::Message),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = record::Exited;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.Record.Exited")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<record::Exited, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut kind__ = None;
                let mut code__ = None;
                let mut signal__ = None;
                let mut oom__ = None;
                let mut message__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Kind => {
                            if kind__.is_some() {
                                return Err(serde::de::Error::duplicate_field("kind"));
                            }
                            kind__ = Some(map_.next_value::<ExitKind>()? as i32);
                        }
                        GeneratedField::Code => {
                            if code__.is_some() {
                                return Err(serde::de::Error::duplicate_field("code"));
                            }
                            code__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Signal => {
                            if signal__.is_some() {
                                return Err(serde::de::Error::duplicate_field("signal"));
                            }
                            signal__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Oom => {
                            if oom__.is_some() {
                                return Err(serde::de::Error::duplicate_field("oom"));
                            }
                            oom__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Message => {
                            if message__.is_some() {
                                return Err(serde::de::Error::duplicate_field("message"));
                            }
                            message__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(record::Exited {
                    kind: kind__.unwrap_or_default(),
                    code: code__.unwrap_or_default(),
                    signal: signal__.unwrap_or_default(),
                    oom: oom__.unwrap_or_default(),
                    message: message__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.Record.Exited", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for record::Gap {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.lost_bytes != 0 {
            len += 1;
        }
        if self.lost_records != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.Record.Gap", len)?;
        if self.lost_bytes != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("lostBytes", ToString::to_string(&self.lost_bytes).as_str())?;
        }
        if self.lost_records != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("lostRecords", ToString::to_string(&self.lost_records).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for record::Gap {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "lost_bytes",
            "lostBytes",
            "lost_records",
            "lostRecords",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            LostBytes,
            LostRecords,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "lostBytes" | "lost_bytes" => Ok(GeneratedField::LostBytes),
                            "lostRecords" | "lost_records" => Ok(GeneratedField::LostRecords),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = record::Gap;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.Record.Gap")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<record::Gap, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut lost_bytes__ = None;
                let mut lost_records__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::LostBytes => {
                            if lost_bytes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("lostBytes"));
                            }
                            lost_bytes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::LostRecords => {
                            if lost_records__.is_some() {
                                return Err(serde::de::Error::duplicate_field("lostRecords"));
                            }
                            lost_records__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(record::Gap {
                    lost_bytes: lost_bytes__.unwrap_or_default(),
                    lost_records: lost_records__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.Record.Gap", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for record::KeepAlive {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("hearth.guest.v1.Record.KeepAlive", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for record::KeepAlive {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Ok(GeneratedField::__SkipField__)
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = record::KeepAlive;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.Record.KeepAlive")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<record::KeepAlive, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(record::KeepAlive {
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.Record.KeepAlive", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for record::Started {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.pid != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.Record.Started", len)?;
        if self.pid != 0 {
            struct_ser.serialize_field("pid", &self.pid)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for record::Started {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "pid",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Pid,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "pid" => Ok(GeneratedField::Pid),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = record::Started;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.Record.Started")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<record::Started, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut pid__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Pid => {
                            if pid__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pid"));
                            }
                            pid__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(record::Started {
                    pid: pid__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.Record.Started", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ReleaseProgramsRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("hearth.guest.v1.ReleaseProgramsRequest", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ReleaseProgramsRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Ok(GeneratedField::__SkipField__)
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ReleaseProgramsRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.ReleaseProgramsRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ReleaseProgramsRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(ReleaseProgramsRequest {
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.ReleaseProgramsRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ReleaseProgramsResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("hearth.guest.v1.ReleaseProgramsResponse", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ReleaseProgramsResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Ok(GeneratedField::__SkipField__)
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ReleaseProgramsResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.ReleaseProgramsResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ReleaseProgramsResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(ReleaseProgramsResponse {
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.ReleaseProgramsResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Restore {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.copy {
            len += 1;
        }
        if !self.machine_id.is_empty() {
            len += 1;
        }
        if self.hold {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.Restore", len)?;
        if self.copy {
            struct_ser.serialize_field("copy", &self.copy)?;
        }
        if !self.machine_id.is_empty() {
            struct_ser.serialize_field("machineId", &self.machine_id)?;
        }
        if self.hold {
            struct_ser.serialize_field("hold", &self.hold)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Restore {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "copy",
            "machine_id",
            "machineId",
            "hold",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Copy,
            MachineId,
            Hold,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "copy" => Ok(GeneratedField::Copy),
                            "machineId" | "machine_id" => Ok(GeneratedField::MachineId),
                            "hold" => Ok(GeneratedField::Hold),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Restore;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.Restore")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Restore, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut copy__ = None;
                let mut machine_id__ = None;
                let mut hold__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Copy => {
                            if copy__.is_some() {
                                return Err(serde::de::Error::duplicate_field("copy"));
                            }
                            copy__ = Some(map_.next_value()?);
                        }
                        GeneratedField::MachineId => {
                            if machine_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("machineId"));
                            }
                            machine_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Hold => {
                            if hold__.is_some() {
                                return Err(serde::de::Error::duplicate_field("hold"));
                            }
                            hold__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(Restore {
                    copy: copy__.unwrap_or_default(),
                    machine_id: machine_id__.unwrap_or_default(),
                    hold: hold__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.Restore", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for SecretFile {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.path.is_empty() {
            len += 1;
        }
        if !self.data.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.SecretFile", len)?;
        if !self.path.is_empty() {
            struct_ser.serialize_field("path", &self.path)?;
        }
        if !self.data.is_empty() {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("data", pbjson::private::base64::encode(&self.data).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for SecretFile {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "path",
            "data",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Path,
            Data,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "path" => Ok(GeneratedField::Path),
                            "data" => Ok(GeneratedField::Data),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = SecretFile;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.SecretFile")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<SecretFile, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut path__ = None;
                let mut data__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Path => {
                            if path__.is_some() {
                                return Err(serde::de::Error::duplicate_field("path"));
                            }
                            path__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Data => {
                            if data__.is_some() {
                                return Err(serde::de::Error::duplicate_field("data"));
                            }
                            data__ = 
                                Some(map_.next_value::<::pbjson::private::BytesDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(SecretFile {
                    path: path__.unwrap_or_default(),
                    data: data__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.SecretFile", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for SetClockRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.clock_unix_ns != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.SetClockRequest", len)?;
        if self.clock_unix_ns != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("clockUnixNs", ToString::to_string(&self.clock_unix_ns).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for SetClockRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "clock_unix_ns",
            "clockUnixNs",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            ClockUnixNs,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "clockUnixNs" | "clock_unix_ns" => Ok(GeneratedField::ClockUnixNs),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = SetClockRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.SetClockRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<SetClockRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut clock_unix_ns__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::ClockUnixNs => {
                            if clock_unix_ns__.is_some() {
                                return Err(serde::de::Error::duplicate_field("clockUnixNs"));
                            }
                            clock_unix_ns__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(SetClockRequest {
                    clock_unix_ns: clock_unix_ns__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.SetClockRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for SetClockResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("hearth.guest.v1.SetClockResponse", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for SetClockResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Ok(GeneratedField::__SkipField__)
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = SetClockResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.SetClockResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<SetClockResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(SetClockResponse {
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.SetClockResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ShutdownRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.signal != 0 {
            len += 1;
        }
        if self.timeout_ms != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.ShutdownRequest", len)?;
        if self.signal != 0 {
            struct_ser.serialize_field("signal", &self.signal)?;
        }
        if self.timeout_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("timeoutMs", ToString::to_string(&self.timeout_ms).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ShutdownRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "signal",
            "timeout_ms",
            "timeoutMs",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Signal,
            TimeoutMs,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "signal" => Ok(GeneratedField::Signal),
                            "timeoutMs" | "timeout_ms" => Ok(GeneratedField::TimeoutMs),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ShutdownRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.ShutdownRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ShutdownRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut signal__ = None;
                let mut timeout_ms__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Signal => {
                            if signal__.is_some() {
                                return Err(serde::de::Error::duplicate_field("signal"));
                            }
                            signal__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::TimeoutMs => {
                            if timeout_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("timeoutMs"));
                            }
                            timeout_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(ShutdownRequest {
                    signal: signal__.unwrap_or_default(),
                    timeout_ms: timeout_ms__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.ShutdownRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ShutdownResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.killed {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.ShutdownResponse", len)?;
        if self.killed {
            struct_ser.serialize_field("killed", &self.killed)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ShutdownResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "killed",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Killed,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "killed" => Ok(GeneratedField::Killed),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ShutdownResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.ShutdownResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ShutdownResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut killed__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Killed => {
                            if killed__.is_some() {
                                return Err(serde::de::Error::duplicate_field("killed"));
                            }
                            killed__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(ShutdownResponse {
                    killed: killed__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.ShutdownResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Stream {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::Unspecified => "STREAM_UNSPECIFIED",
            Self::Stdout => "STREAM_STDOUT",
            Self::Stderr => "STREAM_STDERR",
            Self::Pty => "STREAM_PTY",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for Stream {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "STREAM_UNSPECIFIED",
            "STREAM_STDOUT",
            "STREAM_STDERR",
            "STREAM_PTY",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = Stream;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "STREAM_UNSPECIFIED" => Ok(Stream::Unspecified),
                    "STREAM_STDOUT" => Ok(Stream::Stdout),
                    "STREAM_STDERR" => Ok(Stream::Stderr),
                    "STREAM_PTY" => Ok(Stream::Pty),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for TerminalSize {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.cols != 0 {
            len += 1;
        }
        if self.rows != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.TerminalSize", len)?;
        if self.cols != 0 {
            struct_ser.serialize_field("cols", &self.cols)?;
        }
        if self.rows != 0 {
            struct_ser.serialize_field("rows", &self.rows)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for TerminalSize {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "cols",
            "rows",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Cols,
            Rows,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "cols" => Ok(GeneratedField::Cols),
                            "rows" => Ok(GeneratedField::Rows),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = TerminalSize;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.TerminalSize")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<TerminalSize, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut cols__ = None;
                let mut rows__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Cols => {
                            if cols__.is_some() {
                                return Err(serde::de::Error::duplicate_field("cols"));
                            }
                            cols__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Rows => {
                            if rows__.is_some() {
                                return Err(serde::de::Error::duplicate_field("rows"));
                            }
                            rows__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(TerminalSize {
                    cols: cols__.unwrap_or_default(),
                    rows: rows__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.TerminalSize", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ThawRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("hearth.guest.v1.ThawRequest", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ThawRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Ok(GeneratedField::__SkipField__)
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ThawRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.ThawRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ThawRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(ThawRequest {
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.ThawRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ThawResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("hearth.guest.v1.ThawResponse", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ThawResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Ok(GeneratedField::__SkipField__)
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ThawResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.ThawResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ThawResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(ThawResponse {
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.ThawResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Tokens {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.host.is_empty() {
            len += 1;
        }
        if !self.access.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.Tokens", len)?;
        if !self.host.is_empty() {
            struct_ser.serialize_field("host", &self.host)?;
        }
        if !self.access.is_empty() {
            struct_ser.serialize_field("access", &self.access)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Tokens {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "host",
            "access",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Host,
            Access,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "host" => Ok(GeneratedField::Host),
                            "access" => Ok(GeneratedField::Access),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Tokens;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.Tokens")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Tokens, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut host__ = None;
                let mut access__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Host => {
                            if host__.is_some() {
                                return Err(serde::de::Error::duplicate_field("host"));
                            }
                            host__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Access => {
                            if access__.is_some() {
                                return Err(serde::de::Error::duplicate_field("access"));
                            }
                            access__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(Tokens {
                    host: host__.unwrap_or_default(),
                    access: access__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.Tokens", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for VolumeMount {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.source.is_empty() {
            len += 1;
        }
        if !self.path.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.VolumeMount", len)?;
        if !self.source.is_empty() {
            struct_ser.serialize_field("source", &self.source)?;
        }
        if !self.path.is_empty() {
            struct_ser.serialize_field("path", &self.path)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for VolumeMount {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "source",
            "path",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Source,
            Path,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "source" => Ok(GeneratedField::Source),
                            "path" => Ok(GeneratedField::Path),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = VolumeMount;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.VolumeMount")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<VolumeMount, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut source__ = None;
                let mut path__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Source => {
                            if source__.is_some() {
                                return Err(serde::de::Error::duplicate_field("source"));
                            }
                            source__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Path => {
                            if path__.is_some() {
                                return Err(serde::de::Error::duplicate_field("path"));
                            }
                            path__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(VolumeMount {
                    source: source__.unwrap_or_default(),
                    path: path__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.VolumeMount", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Volumes {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.address.is_empty() {
            len += 1;
        }
        if self.port != 0 {
            len += 1;
        }
        if !self.mounts.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.Volumes", len)?;
        if !self.address.is_empty() {
            struct_ser.serialize_field("address", &self.address)?;
        }
        if self.port != 0 {
            struct_ser.serialize_field("port", &self.port)?;
        }
        if !self.mounts.is_empty() {
            struct_ser.serialize_field("mounts", &self.mounts)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Volumes {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "address",
            "port",
            "mounts",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Address,
            Port,
            Mounts,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "address" => Ok(GeneratedField::Address),
                            "port" => Ok(GeneratedField::Port),
                            "mounts" => Ok(GeneratedField::Mounts),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Volumes;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.Volumes")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Volumes, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut address__ = None;
                let mut port__ = None;
                let mut mounts__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Address => {
                            if address__.is_some() {
                                return Err(serde::de::Error::duplicate_field("address"));
                            }
                            address__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Port => {
                            if port__.is_some() {
                                return Err(serde::de::Error::duplicate_field("port"));
                            }
                            port__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Mounts => {
                            if mounts__.is_some() {
                                return Err(serde::de::Error::duplicate_field("mounts"));
                            }
                            mounts__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(Volumes {
                    address: address__.unwrap_or_default(),
                    port: port__.unwrap_or_default(),
                    mounts: mounts__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.Volumes", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Workload {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.args.is_empty() {
            len += 1;
        }
        if !self.env.is_empty() {
            len += 1;
        }
        if !self.cwd.is_empty() {
            len += 1;
        }
        if !self.user.is_empty() {
            len += 1;
        }
        if self.pty.is_some() {
            len += 1;
        }
        if self.stdin {
            len += 1;
        }
        if self.runtime_api {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.Workload", len)?;
        if !self.args.is_empty() {
            struct_ser.serialize_field("args", &self.args)?;
        }
        if !self.env.is_empty() {
            struct_ser.serialize_field("env", &self.env)?;
        }
        if !self.cwd.is_empty() {
            struct_ser.serialize_field("cwd", &self.cwd)?;
        }
        if !self.user.is_empty() {
            struct_ser.serialize_field("user", &self.user)?;
        }
        if let Some(v) = self.pty.as_ref() {
            struct_ser.serialize_field("pty", v)?;
        }
        if self.stdin {
            struct_ser.serialize_field("stdin", &self.stdin)?;
        }
        if self.runtime_api {
            struct_ser.serialize_field("runtimeApi", &self.runtime_api)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Workload {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "args",
            "env",
            "cwd",
            "user",
            "pty",
            "stdin",
            "runtime_api",
            "runtimeApi",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Args,
            Env,
            Cwd,
            User,
            Pty,
            Stdin,
            RuntimeApi,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "args" => Ok(GeneratedField::Args),
                            "env" => Ok(GeneratedField::Env),
                            "cwd" => Ok(GeneratedField::Cwd),
                            "user" => Ok(GeneratedField::User),
                            "pty" => Ok(GeneratedField::Pty),
                            "stdin" => Ok(GeneratedField::Stdin),
                            "runtimeApi" | "runtime_api" => Ok(GeneratedField::RuntimeApi),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Workload;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.Workload")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Workload, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut args__ = None;
                let mut env__ = None;
                let mut cwd__ = None;
                let mut user__ = None;
                let mut pty__ = None;
                let mut stdin__ = None;
                let mut runtime_api__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Args => {
                            if args__.is_some() {
                                return Err(serde::de::Error::duplicate_field("args"));
                            }
                            args__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Env => {
                            if env__.is_some() {
                                return Err(serde::de::Error::duplicate_field("env"));
                            }
                            env__ = Some(
                                map_.next_value::<std::collections::BTreeMap<_, _>>()?
                            );
                        }
                        GeneratedField::Cwd => {
                            if cwd__.is_some() {
                                return Err(serde::de::Error::duplicate_field("cwd"));
                            }
                            cwd__ = Some(map_.next_value()?);
                        }
                        GeneratedField::User => {
                            if user__.is_some() {
                                return Err(serde::de::Error::duplicate_field("user"));
                            }
                            user__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Pty => {
                            if pty__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pty"));
                            }
                            pty__ = map_.next_value()?;
                        }
                        GeneratedField::Stdin => {
                            if stdin__.is_some() {
                                return Err(serde::de::Error::duplicate_field("stdin"));
                            }
                            stdin__ = Some(map_.next_value()?);
                        }
                        GeneratedField::RuntimeApi => {
                            if runtime_api__.is_some() {
                                return Err(serde::de::Error::duplicate_field("runtimeApi"));
                            }
                            runtime_api__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(Workload {
                    args: args__.unwrap_or_default(),
                    env: env__.unwrap_or_default(),
                    cwd: cwd__.unwrap_or_default(),
                    user: user__.unwrap_or_default(),
                    pty: pty__,
                    stdin: stdin__.unwrap_or_default(),
                    runtime_api: runtime_api__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.Workload", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for WorkloadInputRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.data.is_empty() {
            len += 1;
        }
        if self.close {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.WorkloadInputRequest", len)?;
        if !self.data.is_empty() {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("data", pbjson::private::base64::encode(&self.data).as_str())?;
        }
        if self.close {
            struct_ser.serialize_field("close", &self.close)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for WorkloadInputRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "data",
            "close",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Data,
            Close,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "data" => Ok(GeneratedField::Data),
                            "close" => Ok(GeneratedField::Close),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = WorkloadInputRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.WorkloadInputRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<WorkloadInputRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut data__ = None;
                let mut close__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Data => {
                            if data__.is_some() {
                                return Err(serde::de::Error::duplicate_field("data"));
                            }
                            data__ = 
                                Some(map_.next_value::<::pbjson::private::BytesDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Close => {
                            if close__.is_some() {
                                return Err(serde::de::Error::duplicate_field("close"));
                            }
                            close__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(WorkloadInputRequest {
                    data: data__.unwrap_or_default(),
                    close: close__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.WorkloadInputRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for WorkloadInputResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("hearth.guest.v1.WorkloadInputResponse", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for WorkloadInputResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Ok(GeneratedField::__SkipField__)
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = WorkloadInputResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.WorkloadInputResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<WorkloadInputResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(WorkloadInputResponse {
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.WorkloadInputResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for WorkloadResizeRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.size.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.WorkloadResizeRequest", len)?;
        if let Some(v) = self.size.as_ref() {
            struct_ser.serialize_field("size", v)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for WorkloadResizeRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "size",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Size,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "size" => Ok(GeneratedField::Size),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = WorkloadResizeRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.WorkloadResizeRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<WorkloadResizeRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut size__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Size => {
                            if size__.is_some() {
                                return Err(serde::de::Error::duplicate_field("size"));
                            }
                            size__ = map_.next_value()?;
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(WorkloadResizeRequest {
                    size: size__,
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.WorkloadResizeRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for WorkloadResizeResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("hearth.guest.v1.WorkloadResizeResponse", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for WorkloadResizeResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Ok(GeneratedField::__SkipField__)
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = WorkloadResizeResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.WorkloadResizeResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<WorkloadResizeResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(WorkloadResizeResponse {
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.WorkloadResizeResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for WorkloadSignalRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.signal != 0 {
            len += 1;
        }
        if self.all {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("hearth.guest.v1.WorkloadSignalRequest", len)?;
        if self.signal != 0 {
            struct_ser.serialize_field("signal", &self.signal)?;
        }
        if self.all {
            struct_ser.serialize_field("all", &self.all)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for WorkloadSignalRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "signal",
            "all",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Signal,
            All,
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "signal" => Ok(GeneratedField::Signal),
                            "all" => Ok(GeneratedField::All),
                            _ => Ok(GeneratedField::__SkipField__),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = WorkloadSignalRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.WorkloadSignalRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<WorkloadSignalRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut signal__ = None;
                let mut all__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Signal => {
                            if signal__.is_some() {
                                return Err(serde::de::Error::duplicate_field("signal"));
                            }
                            signal__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::All => {
                            if all__.is_some() {
                                return Err(serde::de::Error::duplicate_field("all"));
                            }
                            all__ = Some(map_.next_value()?);
                        }
                        GeneratedField::__SkipField__ => {
                            let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(WorkloadSignalRequest {
                    signal: signal__.unwrap_or_default(),
                    all: all__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.WorkloadSignalRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for WorkloadSignalResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("hearth.guest.v1.WorkloadSignalResponse", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for WorkloadSignalResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            __SkipField__,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Ok(GeneratedField::__SkipField__)
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = WorkloadSignalResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct hearth.guest.v1.WorkloadSignalResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<WorkloadSignalResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(WorkloadSignalResponse {
                })
            }
        }
        deserializer.deserialize_struct("hearth.guest.v1.WorkloadSignalResponse", FIELDS, GeneratedVisitor)
    }
}
