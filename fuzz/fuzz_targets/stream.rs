//! Any bytes, in any chunks, taken for a connection to a broker and a name server: cut into
//! frames, headers and requests without a panic; no header is decoded to something that does not
//! encode back to itself.
//!
//! The first byte says how the rest is chunked.
#![no_main]

use bytes::{BufMut, BytesMut};
use hotfire_net::codec::{broker, namesrv};
use hotfire_net::frame::{FrameDecoder, FrameLimits};
use hotfire_net::header::Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((chunking, stream)) = input.split_first() else { return };
    let mut decoder = FrameDecoder::new(FrameLimits { max_frame: 1 << 16, max_header: 1 << 12 });
    for chunk in stream.chunks(usize::from(*chunking) + 1) {
        decoder.read_into().put_slice(chunk);
        loop {
            let frame = match decoder.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                // The connection is closed here.
                Err(_) => return,
            };
            let Ok(header) = Header::decode(&frame) else { return };
            check_round_trip(&header);
            let _ = std::hint::black_box((
                broker::decode_request(&header, &frame.body),
                namesrv::decode_request(&header, &frame.body),
            ));
        }
    }
});

fn check_round_trip(header: &Header) {
    // The binary form's own fields are narrower than the JSON form's.
    if !header.json {
        return;
    }
    let outgoing = header.encode(bytes::Bytes::new(), &mut BytesMut::new());
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    decoder.read_into().put_slice(&outgoing.to_vec());
    let frame = decoder.next_frame().expect("our own frame").expect("a whole one");
    assert_eq!(Header::decode(&frame).expect("our own header"), *header);
}
