"""Operations on volumes: registration, tissues, motion, regions."""
