//! What a guest asks, and what it is answered without asking anybody. Pure: messages in, messages out.
//!
//! Nothing of the guest's message goes further but the question and the size of answer that it takes: a message has room
//! for more than questions.

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, RecordType},
};

/// Bytes of an answer that any program takes (RFC 1035).
const PAYLOAD_MIN: u16 = 512;
/// Bytes of an answer that crosses any network in one piece.
pub(super) const PAYLOAD: u16 = 1232;

/// One question of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    id: u16,
    query: Query,
    /// The size that an answer by UDP may have, if the guest said it, and whether it wants signatures.
    edns: Option<(u16, bool)>,
}

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is asked further.
    Ask,
    /// It is answered here.
    Answer(ResponseCode),
}

impl Question {
    /// Reads a message. None is given an answer to: what is no question, or cannot be read at all.
    pub(super) fn read(bytes: &[u8]) -> Option<Result<Self, Vec<u8>>> {
        let id = u16::from_be_bytes(*bytes.first_chunk()?);
        let is_question = bytes.get(2)? & 0x80 == 0;
        if !is_question {
            return None;
        }
        let refused = |op_code, code| encode(&Message::error_msg(id, op_code, code)).map(Err);
        let Ok(message) = Message::from_vec(bytes) else {
            return refused(OpCode::Query, ResponseCode::FormErr);
        };
        if message.metadata.op_code != OpCode::Query {
            return refused(message.metadata.op_code, ResponseCode::NotImp);
        }
        let [query] = &message.queries[..] else {
            return refused(OpCode::Query, ResponseCode::FormErr);
        };
        let edns = message.edns.as_ref();
        Some(Ok(Self {
            id,
            query: query.clone(),
            edns: edns.map(|edns| (edns.max_payload().max(PAYLOAD_MIN), edns.flags().dnssec_ok)),
        }))
    }

    /// The name asked for; none if it has bytes that no host name has, so that its text is no name.
    pub(super) fn name(&self) -> Option<String> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        self.query
            .name
            .iter()
            .all(|label| label.iter().all(plain))
            .then(|| self.query.name.to_ascii())
    }

    /// What becomes of it, if the rules allow its name or do not.
    pub(super) fn judge(&self, permitted: bool) -> Verdict {
        use RecordType::{ANY, AXFR, HTTPS, IXFR, SVCB};
        let kind = self.query.query_type;
        if !permitted || self.query.query_class != DNSClass::IN || matches!(kind, AXFR | IXFR) {
            return Verdict::Answer(ResponseCode::Refused);
        }
        match kind {
            ANY => Verdict::Answer(ResponseCode::NotImp),
            // There is none: it would have clients hide the name from us, or speak by UDP, and both are refused.
            HTTPS | SVCB => Verdict::Answer(ResponseCode::NoError),
            _ => Verdict::Ask,
        }
    }

    /// The message that asks it, as one of ours.
    pub(super) fn to_ask(&self, id: u16) -> Option<Vec<u8>> {
        let dnssec = self.edns.is_some_and(|(_, dnssec)| dnssec);
        ask(id, self.query.clone(), self.edns.is_some(), dnssec)
    }

    /// An answer of ours, without records.
    pub(super) fn answer(&self, code: ResponseCode) -> Option<Vec<u8>> {
        encode(&self.reply(code))
    }

    fn reply(&self, code: ResponseCode) -> Message {
        let mut message = Message::error_msg(self.id, OpCode::Query, code);
        message.metadata.recursion_desired = true;
        message.metadata.recursion_available = true;
        message.add_query(self.query.clone());
        message
    }

    /// Somebody's answer as the guest's own; cut where it takes no more.
    pub(super) fn pass(&self, mut answer: Vec<u8>, by_udp: bool) -> Option<Vec<u8>> {
        let room = self.edns.map_or(PAYLOAD_MIN, |(payload, _)| payload);
        if by_udp && answer.len() > usize::from(room) {
            let mut cut = self.reply(ResponseCode::NoError);
            cut.metadata.truncation = true;
            return encode(&cut);
        }
        answer.get_mut(..2)?.copy_from_slice(&self.id.to_be_bytes());
        Some(answer)
    }
}

/// A question of ours.
pub(super) fn ask(id: u16, query: Query, edns: bool, dnssec: bool) -> Option<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(query);
    if edns {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_dnssec_ok(dnssec);
        message.set_edns(edns);
    }
    encode(&message)
}

/// Reads an answer; none if it is none to this message.
pub(super) fn read_answer(asked: &[u8], answer: &[u8]) -> Option<Message> {
    let asked = Message::from_vec(asked).ok()?;
    let answer = Message::from_vec(answer).ok()?;
    let fits = answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == asked.metadata.id
        && answer.queries == asked.queries;
    fits.then_some(answer)
}

fn encode(message: &Message) -> Option<Vec<u8>> {
    message.to_vec().ok()
}

/// Reads a question of any bytes: for fuzzing.
pub fn fuzz_question(bytes: &[u8]) {
    if let Some(Ok(question)) = Question::read(bytes) {
        question.name();
        question.judge(true);
        question.to_ask(1);
        question.answer(ResponseCode::Refused);
    }
    read_answer(bytes, bytes);
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;
    use proptest::prelude::*;

    use super::*;

    fn asked(name: &str, kind: RecordType) -> Vec<u8> {
        ask(7, Query::query(Name::from_ascii(name).unwrap(), kind), true, true).unwrap()
    }

    fn read(bytes: &[u8]) -> Question {
        Question::read(bytes).unwrap().unwrap()
    }

    #[test]
    fn only_the_question_goes_further() {
        let question = read(&asked("Example.com.", RecordType::A));
        assert_eq!(question.name().unwrap(), "Example.com.");
        assert_eq!(question.judge(true), Verdict::Ask);
        let ours = Message::from_vec(&question.to_ask(9).unwrap()).unwrap();
        assert_eq!(
            (ours.metadata.id, ours.queries.len(), ours.additionals.len()),
            (9, 1, 0)
        );
        let edns = ours.edns.unwrap();
        assert!(edns.options().as_ref().is_empty() && edns.max_payload() == PAYLOAD);
    }

    #[test]
    fn what_is_not_allowed_is_refused_and_what_would_hide_names_is_not_there() {
        for (kind, permitted, code) in [
            (RecordType::A, false, ResponseCode::Refused),
            (RecordType::AXFR, true, ResponseCode::Refused),
            (RecordType::ANY, true, ResponseCode::NotImp),
            (RecordType::HTTPS, true, ResponseCode::NoError),
        ] {
            let question = read(&asked("example.com.", kind));
            assert_eq!(question.judge(permitted), Verdict::Answer(code));
            let answer = Message::from_vec(&question.answer(code).unwrap()).unwrap();
            assert_eq!((answer.metadata.id, answer.metadata.response_code), (7, code));
            assert!(answer.answers.is_empty());
        }
    }

    #[test]
    fn a_dot_within_a_label_makes_no_name() {
        let question = read(&asked("a\\.example.com.", RecordType::A));
        assert_eq!(question.name(), None);
    }

    #[test]
    fn what_is_no_question_gets_no_answer_or_an_error() {
        assert_eq!(Question::read(b"\0"), None);
        let question = read(&asked("example.com.", RecordType::A));
        assert_eq!(Question::read(&question.answer(ResponseCode::NoError).unwrap()), None);
        let garbage = Question::read(&[1, 2, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9])
            .unwrap()
            .unwrap_err();
        let answer = Message::from_vec(&garbage).unwrap();
        assert_eq!(
            (answer.metadata.id, answer.metadata.response_code),
            (0x102, ResponseCode::FormErr)
        );
    }

    #[test]
    fn a_long_answer_is_cut_where_the_guest_takes_no_more() {
        let query = Query::query(Name::from_ascii("example.com.").unwrap(), RecordType::A);
        let small = read(&ask(7, query, false, false).unwrap());
        let cut = small.pass(vec![0; 600], true).unwrap();
        assert!(Message::from_vec(&cut).unwrap().metadata.truncation);
        assert_eq!(small.pass(vec![0; 600], false).unwrap()[..3], [0, 7, 0]);
        let large = read(&asked("example.com.", RecordType::A));
        assert_eq!(large.pass(vec![0; 600], true).unwrap().len(), 600);
    }

    #[test]
    fn an_answer_to_something_else_is_none() {
        let ours = asked("example.com.", RecordType::A);
        let answer = |name| read(&asked(name, RecordType::A)).answer(ResponseCode::NoError).unwrap();
        assert!(read_answer(&ours, &answer("EXAMPLE.com.")).is_some());
        assert!(read_answer(&ours, &answer("evil.com.")).is_none());
        assert!(read_answer(&ours, &ours).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz_question(&bytes);
        }
    }
}
