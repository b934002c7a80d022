"""Training of compressed networks: fine-tuning with the original as the teacher."""
