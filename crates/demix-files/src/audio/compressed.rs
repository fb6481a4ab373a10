//! FLAC, MP3, Ogg Vorbis, M4A and AAC, decoded by symphonia and checked by us: what the container
//! promises must come out, and a stream that breaks is an error wherever it breaks.

use std::cell::Cell;
use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;

use ndarray::Array2;
use symphonia::core::codecs::audio::well_known as codec;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::sniff::{Compressed, after_id3v2};
use super::{AudioInfo, ReadOptions, SampleFormat, asked, mp4, window};
use crate::FileError;

pub(super) fn info(path: &Path, file: File, kind: Compressed) -> Result<AudioInfo, FileError> {
    contained(path, || Stream::open(path, file, kind, false)?.info())
}

pub(super) fn read(
    path: &Path,
    file: File,
    kind: Compressed,
    options: &ReadOptions,
    warnings: &mut Vec<String>,
) -> Result<(AudioInfo, Array2<f32>), FileError> {
    contained(path, || {
        let whole = options.start.is_none() && options.duration.is_none();
        Stream::open(path, file, kind, whole)?.read(options, warnings)
    })
}

thread_local! {
    /// Whether a panic of this thread will be turned into an error.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a decoder: should hostile data make it panic, that is the file's error, on one line.
fn contained<T>(path: &Path, decode: impl FnOnce() -> Result<T, FileError>) -> Result<T, FileError> {
    static QUIET: Once = Once::new();
    // the usual hook would print several lines before the error is even made
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !CONTAINED.get() {
                usual(panic);
            }
        }));
    });
    CONTAINED.set(true);
    // everything the decoder touched is dropped with it, so nothing half-changed survives
    let result = catch_unwind(AssertUnwindSafe(decode));
    CONTAINED.set(false);
    result.unwrap_or_else(|_| Err(FileError::damaged(path, "its content breaks the decoder")))
}

/// A stream of packets on its way to samples.
struct Stream<'a> {
    path: &'a Path,
    kind: Compressed,
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    codec: AudioCodecId,
    bits: Option<u32>,
    sample_rate: u32,
    channels: usize,
    /// Decoded samples to leave out at the beginning.
    delay: u64,
    /// Samples per channel that the container promises, without delay and padding.
    promised: Option<u64>,
    /// How many fewer than promised are still complete.
    tolerance: u64,
    /// Bytes of the file that packets should fill, where packets are all that is in it.
    stream_bytes: Option<u64>,
    packet_bytes: u64,
    /// Samples decoded or passed over so far, delay included.
    decoded: u64,
    /// The samples of the last packet, a row per channel.
    block: Vec<Vec<f32>>,
    /// Whether `block` holds the first packet, decoded to learn rate and channels.
    first: bool,
}

impl<'a> Stream<'a> {
    fn open(path: &'a Path, file: File, kind: Compressed, verify: bool) -> Result<Self, FileError> {
        let read_error = |error| FileError::from_io(path, "read it", error);
        let file_bytes = file.metadata().map_err(read_error)?.len();
        let stated = match kind {
            Compressed::Mpeg => mpeg_states_length(path, &file)?,
            _ => true,
        };
        let stream_bytes = match kind {
            Compressed::Mpeg if !stated => Some(mpeg_stream_bytes(path, &file)?),
            _ => None,
        };
        (&file).rewind().map_err(read_error)?;
        let edit = if kind == Compressed::Mp4 { mp4::edit(&file) } else { None };

        let source = MediaSourceStream::new(Box::new(file), Default::default());
        let reader = symphonia::default::get_probe()
            .probe(&hint(kind), source, FormatOptions::default(), MetadataOptions::default())
            .map_err(|error| match error {
                Error::Unsupported(what) => unsupported(path, what),
                Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => FileError::damaged(
                    path,
                    format!("it ends at {file_bytes} bytes, before its sound is complete"),
                ),
                error => FileError::damaged(path, format!("its header cannot be read ({error})")),
            })?;
        let no_sound = || FileError::NotAudio {
            path: path.to_path_buf(),
            found: "a container without a sound track of a known codec".to_string(),
        };
        let track = reader.default_track(TrackType::Audio).ok_or_else(no_sound)?;
        let parameters = track.codec_params.as_ref().and_then(|all| all.audio()).ok_or_else(no_sound)?;
        // MPEG: beyond the length in its header the decoder would cut, and where there is none the
        // reader puts in an estimate; so delay and padding are cut here
        let options = AudioDecoderOptions::default().gapless(kind != Compressed::Mpeg).verify(verify);
        let decoder =
            symphonia::default::get_codecs().make_audio_decoder(parameters, &options).map_err(|error| {
                match error {
                    Error::Unsupported(_) if parameters.codec == codec::CODEC_ID_OPUS => {
                        unsupported(path, "Opus")
                    }
                    Error::Unsupported(what) => unsupported(path, what),
                    error => FileError::damaged(path, format!("its codec header cannot be read ({error})")),
                }
            })?;
        let (mut delay, promised) = match kind {
            Compressed::Mpeg => (u64::from(track.delay.unwrap_or(0)), track.num_frames.filter(|_| stated)),
            _ => (0, track.num_frames.filter(|n| *n > 0)),
        };
        // without a LAME header encoders differ by a frame in what they count
        let tolerance = if kind == Compressed::Mpeg && track.delay.is_none() { 1152 } else { 0 };
        if kind == Compressed::Mpeg && track.delay.is_none() {
            delay = 0;
        }
        let mut stream = Self {
            path,
            kind,
            track: track.id,
            codec: parameters.codec,
            bits: parameters.bits_per_sample.or_else(|| alac_bits(parameters)),
            sample_rate: 0,
            channels: 0,
            delay,
            promised,
            tolerance,
            stream_bytes,
            packet_bytes: 0,
            decoded: 0,
            block: Vec::new(),
            first: false,
            decoder,
            reader,
        };
        stream.learn_format()?;
        stream.apply_edit(edit);
        Ok(stream)
    }

    /// Decodes the first packet: the codec's word on rate and channels counts, not the container's.
    fn learn_format(&mut self) -> Result<(), FileError> {
        let Some(packet) = self.next_packet()? else {
            return Err(match self.promised {
                Some(promised) if promised > 0 => self.truncated(promised),
                _ => FileError::NoSamples { path: self.path.to_path_buf() },
            });
        };
        let block = match self.decoder.decode(&packet) {
            Ok(block) => block,
            Err(error) => return Err(self.broken(error)),
        };
        let (rate, channels) = (block.spec().rate(), block.spec().channels().count());
        if rate == 0 || channels == 0 {
            let what = format!("its stream says {channels} channels at {rate} Hz");
            return Err(FileError::damaged(self.path, what));
        }
        block.copy_to_vecs_planar::<f32>(&mut self.block);
        (self.sample_rate, self.channels) = (rate, channels);
        self.first = true;
        Ok(())
    }

    fn apply_edit(&mut self, edit: Option<mp4::Edit>) {
        let samples = |seconds: f64| (seconds * f64::from(self.sample_rate)).round() as u64;
        match edit {
            None => {}
            Some(mp4::Edit::Samples { delay, length }) => {
                (self.delay, self.promised) = (delay, Some(length));
            }
            Some(mp4::Edit::Seconds { delay, length }) => {
                self.delay = samples(delay);
                let Some(all) = self.promised else { return };
                let rest = all.saturating_sub(self.delay);
                // the edit list may count in units longer than a sample, the packet table does not
                self.promised = Some(match length {
                    Some((seconds, resolution))
                        if rest as f64 / f64::from(self.sample_rate) > seconds + 1.001 * resolution =>
                    {
                        samples(seconds)
                    }
                    _ => rest,
                });
            }
        }
    }

    fn info(mut self) -> Result<AudioInfo, FileError> {
        if self.promised.is_none() {
            self.count_rest()?;
        }
        self.describe()
    }

    fn describe(&self) -> Result<AudioInfo, FileError> {
        let n_samples = self.promised.unwrap_or(self.decoded.saturating_sub(self.delay));
        if n_samples == 0 {
            return Err(FileError::NoSamples { path: self.path.to_path_buf() });
        }
        let container = match self.kind {
            Compressed::Flac => "FLAC",
            Compressed::Ogg => "Ogg",
            Compressed::Mp4 => "M4A",
            Compressed::Adts => "AAC",
            Compressed::Mpeg => codec_name(self.codec),
        };
        let lossless = matches!(self.codec, codec::CODEC_ID_FLAC | codec::CODEC_ID_ALAC);
        Ok(AudioInfo {
            container: container.to_string(),
            codec: codec_name(self.codec).to_string(),
            sample_rate: self.sample_rate,
            channels: self.channels,
            n_samples,
            seconds: n_samples as f64 / f64::from(self.sample_rate),
            bits_per_sample: self.bits.filter(|_| lossless),
            sample_format: if lossless { SampleFormat::Integer } else { SampleFormat::Lossy },
        })
    }

    fn read(
        mut self,
        options: &ReadOptions,
        warnings: &mut Vec<String>,
    ) -> Result<(AudioInfo, Array2<f32>), FileError> {
        let mut part = asked(options, self.sample_rate);
        if let Some(promised) = self.promised {
            part = window(self.path, options, self.sample_rate, promised)?;
        }
        // grown as samples come, not as the header promises
        let mut kept: Vec<Vec<f32>> = vec![Vec::new(); self.channels];
        let ended = loop {
            // what lies behind the part asked for is not needed, but the end of a whole file is checked
            let beyond = self.decoded >= part.end.saturating_add(self.delay);
            if beyond && options.duration.is_some() {
                break false;
            }
            let first = self.decoded;
            let Some(n) = self.decode_next()? else { break true };
            let to_block =
                |sample: u64| sample.saturating_add(self.delay).clamp(first, first + n as u64) - first;
            let range = to_block(part.start) as usize..to_block(part.end) as usize;
            for (kept, block) in kept.iter_mut().zip(&self.block) {
                kept.extend_from_slice(&block[range.clone()]);
            }
        };
        if ended {
            self.check_end(warnings)?;
        } else if self.promised.is_none() {
            self.count_rest()?;
        }
        let info = self.describe()?;
        // once more: only now is the length of every stream known
        window(self.path, options, self.sample_rate, info.n_samples)?;

        let n = kept[0].len();
        let mut samples = Vec::new();
        for channel in kept {
            if samples.is_empty() {
                samples = channel;
                samples.reserve_exact(n * (self.channels - 1));
            } else {
                samples.extend(channel);
            }
        }
        let samples = Array2::from_shape_vec((self.channels, n), samples)
            .map_err(|_| FileError::damaged(self.path, "its channels differ in length"))?;
        Ok((info, samples))
    }

    /// Decodes a packet into `block` and counts its samples; none at the end.
    fn decode_next(&mut self) -> Result<Option<usize>, FileError> {
        if std::mem::take(&mut self.first) {
            let n = self.block[0].len();
            self.decoded += n as u64;
            return Ok(Some(n));
        }
        let Some(packet) = self.next_packet()? else { return Ok(None) };
        let block = match self.decoder.decode(&packet) {
            Ok(block) => block,
            Err(error) => return Err(self.broken(error)),
        };
        let (rate, channels) = (block.spec().rate(), block.spec().channels().count());
        if (rate, channels) != (self.sample_rate, self.channels) {
            let what = format!(
                "it changes from {} channels at {} Hz to {channels} channels at {rate} Hz after {} samples",
                self.channels, self.sample_rate, self.decoded
            );
            return Err(FileError::damaged(self.path, what));
        }
        block.copy_to_vecs_planar::<f32>(&mut self.block);
        let n = block.frames();
        self.decoded += n as u64;
        Ok(Some(n))
    }

    /// Counts the remaining samples, where possible by what the packets say, without decoding.
    fn count_rest(&mut self) -> Result<(), FileError> {
        if self.kind == Compressed::Mp4 {
            // only whole packets are certain: a fragment may cut the last one short, or not
            while self.decode_next()?.is_some() {}
            return Ok(());
        }
        if std::mem::take(&mut self.first) {
            self.decoded += self.block[0].len() as u64;
        }
        while let Some(packet) = self.next_packet()? {
            let duration = packet.dur.get() + packet.trim_start.get() + packet.trim_end.get();
            // the length of MPEG packets is cut to the estimate of the reader
            self.decoded += if self.kind == Compressed::Mpeg { duration } else { packet.dur.get() };
        }
        Ok(())
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, FileError> {
        loop {
            match self.reader.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => {
                    self.packet_bytes += packet.data.len() as u64;
                    return Ok(Some(packet));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                // FLAC has no other end
                Err(Error::IoError(error))
                    if self.kind == Compressed::Flac && error.kind() == ErrorKind::UnexpectedEof =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// What came out must be what the container promises.
    fn check_end(&mut self, warnings: &mut Vec<String>) -> Result<(), FileError> {
        let found = self.decoded.saturating_sub(self.delay);
        if let Some(promised) = self.promised {
            if found + self.tolerance < promised {
                return Err(self.truncated(promised));
            }
            if found < promised {
                self.promised = Some(found);
            }
            if found > promised && self.kind == Compressed::Flac {
                let what =
                    format!("the header promises {promised} samples per channel, the stream holds {found}");
                return Err(FileError::damaged(self.path, what));
            }
        }
        if self.decoder.finalize().verify_ok == Some(false) {
            return Err(FileError::damaged(self.path, "its checksum (MD5) is not that of its sound"));
        }
        if let Some(bytes) = self.stream_bytes
            && self.packet_bytes < bytes
        {
            warnings.push(format!(
                "{} of its {bytes} bytes are no complete MPEG frames and were passed over",
                bytes - self.packet_bytes
            ));
        }
        Ok(())
    }

    fn truncated(&self, promised: u64) -> FileError {
        FileError::Truncated {
            path: self.path.to_path_buf(),
            unit: "samples per channel",
            promised,
            found: self.decoded.saturating_sub(self.delay),
        }
    }

    fn broken(&self, error: Error) -> FileError {
        let at = self.decoded.saturating_sub(self.delay);
        match (error, self.promised) {
            (Error::IoError(error), promised) if error.kind() == ErrorKind::UnexpectedEof => match promised {
                Some(promised) if at < promised => self.truncated(promised),
                _ => FileError::damaged(self.path, format!("the stream breaks off after {at} samples")),
            },
            (Error::IoError(error), _) => FileError::from_io(self.path, "read it", error),
            (Error::ResetRequired, _) => unsupported(self.path, "a chain of several streams in one file"),
            (Error::Unsupported(what), _) => unsupported(self.path, what),
            (error, _) => FileError::damaged(self.path, format!("{error}, after {at} samples")),
        }
    }
}

fn hint(kind: Compressed) -> Hint {
    let mut hint = Hint::new();
    hint.with_extension(match kind {
        Compressed::Flac => "flac",
        Compressed::Ogg => "ogg",
        Compressed::Mp4 => "m4a",
        Compressed::Mpeg => "mp3",
        Compressed::Adts => "aac",
    });
    hint
}

fn unsupported(path: &Path, what: &str) -> FileError {
    let what = match what {
        "aac: aac too complex" => "AAC of more than 2 channels or of another profile than LC",
        "core (codec): unsupported audio codec" => "its codec",
        what => what,
    };
    FileError::Unsupported {
        path: path.to_path_buf(),
        what: what.to_string(),
        remedy: "convert it to WAV or FLAC".to_string(),
    }
}

/// The sixth byte of the ALAC cookie, which the demultiplexer hands on unread.
fn alac_bits(parameters: &AudioCodecParameters) -> Option<u32> {
    let cookie = parameters.extra_data.as_ref().filter(|_| parameters.codec == codec::CODEC_ID_ALAC)?;
    cookie.get(5).map(|bits| u32::from(*bits))
}

fn codec_name(id: AudioCodecId) -> &'static str {
    match id {
        codec::CODEC_ID_FLAC => "FLAC",
        codec::CODEC_ID_ALAC => "ALAC",
        codec::CODEC_ID_AAC => "AAC",
        codec::CODEC_ID_VORBIS => "Vorbis",
        codec::CODEC_ID_MP1 => "MP1",
        codec::CODEC_ID_MP2 => "MP2",
        codec::CODEC_ID_MP3 => "MP3",
        _ => "other",
    }
}

/// Whether the first MPEG frame is a header (Xing, Info or VBRI) that states the length; without
/// one the reader estimates it, which is no promise.
fn mpeg_states_length(path: &Path, mut file: &File) -> Result<bool, FileError> {
    use std::io::Read;
    let refused = |error| FileError::from_io(path, "read it", error);
    file.seek(SeekFrom::Start(after_id3v2(path, file)?)).map_err(refused)?;
    let mut head = Vec::new();
    file.take(8192).read_to_end(&mut head).map_err(refused)?;
    let Some(sync) = head.windows(2).position(|pair| pair[0] == 0xff && pair[1] & 0xe0 == 0xe0) else {
        return Ok(false);
    };
    // 4 bytes of header, up to 2 of checksum and 32 of side information precede the mark
    let frame = &head[sync..head.len().min(sync + 48)];
    Ok(frame.windows(4).any(|mark| matches!(mark, b"Xing" | b"Info" | b"VBRI")))
}

/// The bytes between leading and trailing tags.
fn mpeg_stream_bytes(path: &Path, mut file: &File) -> Result<u64, FileError> {
    use std::io::Read;
    let refused = |error| FileError::from_io(path, "read it", error);
    let start = after_id3v2(path, file)?;
    let mut end = file.seek(SeekFrom::End(0)).map_err(refused)?;
    let mut mark = [0; 3];
    if end >= 128 {
        file.seek(SeekFrom::Start(end - 128)).map_err(refused)?;
        file.read_exact(&mut mark).map_err(refused)?;
        if &mark == b"TAG" {
            end -= 128;
        }
    }
    let mut footer = [0; 32];
    if end >= 32 {
        file.seek(SeekFrom::Start(end - 32)).map_err(refused)?;
        file.read_exact(&mut footer).map_err(refused)?;
        if footer.starts_with(b"APETAGEX") {
            let size = u32::from_le_bytes([footer[12], footer[13], footer[14], footer[15]]);
            let header = if footer[23] & 0x80 != 0 { 32 } else { 0 };
            end = end.saturating_sub(u64::from(size) + header);
        }
    }
    Ok(end.saturating_sub(start))
}
