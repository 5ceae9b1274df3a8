//! The sound that goes in and comes out: WAV with 16 bits, and samples that say where they belong.
