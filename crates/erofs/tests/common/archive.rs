//! Tars made by hand, so that they can be as wrong as a test needs.

/// A tar in the making.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

/// An entry in the making; sensible until told otherwise.
pub struct Entry<'a> {
    pub name: &'a [u8],
    pub flag: u8,
    pub link: &'a [u8],
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: u64,
    pub device: (u32, u32),
    pub data: &'a [u8],
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Entry<'a> {
    pub fn new(name: &'a [u8], flag: u8) -> Self {
        Self {
            name,
            flag,
            link: b"",
            mode: if flag == b'5' { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            mtime: 1_700_000_000,
            device: (0, 0),
            data: b"",
            pax: Vec::new(),
        }
    }

    pub fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.pax.push((key.as_bytes().to_vec(), value.to_vec()));
        self
    }
}

impl Archive {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn folder(self, name: &str) -> Self {
        self.entry(Entry::new(name.as_bytes(), b'5'))
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(Entry {
            data,
            ..Entry::new(name.as_bytes(), b'0')
        })
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(Entry {
            link: target.as_bytes(),
            ..Entry::new(name.as_bytes(), b'2')
        })
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(Entry {
            link: target.as_bytes(),
            ..Entry::new(name.as_bytes(), b'1')
        })
    }

    /// Adds an entry; names and links that do not fit the header go into a PAX header.
    pub fn entry(mut self, entry: Entry<'_>) -> Self {
        let mut pax = entry.pax;
        for (key, value) in [("path", entry.name), ("linkpath", entry.link)] {
            if value.len() > 100 {
                pax.push((key.as_bytes().to_vec(), value.to_vec()));
            }
        }
        if !pax.is_empty() {
            let records: Vec<u8> = pax.iter().flat_map(|(key, value)| record(key, value)).collect();
            self.raw(&header(b"pax", b'x', records.len(), |_| {}), &records);
        }
        let header = header(entry.name, entry.flag, entry.data.len(), |block| {
            octal(&mut block[100..108], u64::from(entry.mode));
            octal(&mut block[108..116], u64::from(entry.uid));
            octal(&mut block[116..124], u64::from(entry.gid));
            octal(&mut block[136..148], entry.mtime);
            let link = &entry.link[..entry.link.len().min(100)];
            block[157..157 + link.len()].copy_from_slice(link);
            octal(&mut block[329..337], u64::from(entry.device.0));
            octal(&mut block[337..345], u64::from(entry.device.1));
        });
        self.raw(&header, entry.data);
        self
    }

    /// Adds a header and data as they are.
    pub fn raw(&mut self, header: &[u8], data: &[u8]) {
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    pub fn clone_bytes(&self) -> Vec<u8> {
        [self.bytes.as_slice(), &[0; 1024]].concat()
    }

    /// The archive without its end.
    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

/// A ustar header with a right checksum, after `change`.
pub fn header(name: &[u8], flag: u8, size: usize, change: impl FnOnce(&mut [u8; 512])) -> [u8; 512] {
    let mut block = [0; 512];
    let name = &name[..name.len().min(100)];
    block[..name.len()].copy_from_slice(name);
    octal(&mut block[100..108], 0o644);
    octal(&mut block[124..136], size as u64);
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    change(&mut block);
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    octal(&mut block[148..155], sum);
    block
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    if text.len() > digits {
        // Base 256, as GNU and star write what octal cannot hold.
        let bytes = value.to_be_bytes();
        field.fill(0);
        let kept = field.len().min(8);
        let start = field.len() - kept;
        field[start..].copy_from_slice(&bytes[8 - kept..]);
        field[0] |= 0x80;
        return;
    }
    field[..digits].copy_from_slice(text.as_bytes());
}

/// A record of a PAX header.
pub fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}
