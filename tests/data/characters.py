"""A tokenizer whose ids can be read."""


class Characters:
  """One id per character: 'a' is 2, 'b' is 3, ..."""

  vocab_size, pad_id, eos_id, unk_id, fingerprint, library = 28, 0, 1, -1, '', 'characters 1'

  def encode(self, text):
    return [ord(c) - ord('a') + 2 for c in text] + [self.eos_id]

  def encode_all(self, texts):
    return [self.encode(text) for text in texts]

  def decode(self, ids):
    return ''.join(chr(i + ord('a') - 2) for i in ids if i > 1)
