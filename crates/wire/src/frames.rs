//! Sealed frames one after the other: how an answer that is made piece by piece travels in one HTTP body.
//!
//! Each frame is its length (four bytes, big endian) and the sealed bytes. What is in them, and how many there have to be,
//! says the first.

/// The largest frame, in bytes: the largest message with its seal. Peers and records come in frames of some ten kilobytes;
/// the head of a map with tens of thousands of grants has megabytes.
pub const MOST_FRAME: usize = crate::MOST_BYTES + 1024;

/// The frames were cut short, or one is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is cut short, or has a frame of more than {MOST_FRAME} bytes")]
pub struct BrokenFrames;

/// A sealed message as a frame.
pub fn frame(sealed: &[u8]) -> Vec<u8> {
    let length = u32::try_from(sealed.len()).expect("no message has 4 GiB");
    [length.to_be_bytes().as_slice(), sealed].concat()
}

/// The frames of a body.
pub fn split(mut body: &[u8]) -> Result<Vec<&[u8]>, BrokenFrames> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = body.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| BrokenFrames)?;
        if length > MOST_FRAME {
            return Err(BrokenFrames);
        }
        let (frame, rest) = rest.split_at_checked(length).ok_or(BrokenFrames)?;
        frames.push(frame);
        body = rest;
    }
    if body.is_empty() { Ok(frames) } else { Err(BrokenFrames) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(messages: Vec<Vec<u8>>) {
            let body: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
            prop_assert_eq!(split(&body).unwrap(), messages);
        }

        #[test]
        fn a_body_that_is_cut_short_within_a_frame_is_refused(message: Vec<u8>, cut in 1usize..64) {
            let body = frame(&message);
            let cut = cut.min(body.len() - 1);
            prop_assert_eq!(split(&body[..body.len() - cut]), Err(BrokenFrames));
        }

        #[test]
        fn junk_makes_nothing_worse_than_an_error(junk: Vec<u8>) {
            let _ = split(&junk);
        }
    }
}
